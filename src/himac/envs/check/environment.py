"""Checks that an environment keeps the promises of `himac.envs.base`."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import gymnasium
import numpy as np

from himac.envs.check.asking import ask, kind
from himac.errors import ConfigError, DataError
from himac.scene import Content, is_picture, observed

NONSENSE = "himac check-env: no environment knows this action"
_FALLBACK_ACTIONS = ("look", "help", "inventory")

AnyEnv = gymnasium.Env[Any, Any]


def check_env(
    env: AnyEnv,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    steps: int = 20,
    actions: Sequence[str] = (),
) -> None:
    """Play two short episodes and check types, documented `info` keys, rejection of nonsense and determinism.

    Args:
        options: `Task.options` of the task to play.
        steps: Actions an episode, unless it ends before.
        actions: What to say where the environment lists no admissible commands.

    Raises:
        ConfigError: the environment breaks the interface.
        DataError: the instruction is empty, or the same seed, options and actions gave another episode.
    """
    check_kind(env)
    first, second = (_play(env, options, seed, steps, actions) for _ in range(2))
    check_same(
        first,
        second,
        f"two episodes with seed {seed} and the same actions",
        "draw every random number from self.np_random.",
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """What must repeat: everything an agent can see of one step."""

    action: str | None
    observation: Content
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated


def check_kind(env: Any) -> None:
    """Refuse what is no environment with text actions.

    Raises:
        ConfigError: says what it is.
    """
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"make_env() returned {kind(env)}, which is no gymnasium.Env; derive the environment from gymnasium.Env."
        )
    space = getattr(env, "action_space", None)
    if space is not None and not isinstance(space, gymnasium.spaces.Text):
        raise ConfigError(
            f"the action space is {kind(space)}, but agents act in text; use gymnasium.spaces.Text or a wrapper."
        )


def check_same(first: Sequence[Moment], second: Sequence[Moment], what: str, remedy: str) -> None:
    """Compare two episodes.

    Raises:
        DataError: says where they differ first.
    """
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            raise DataError(f"{what} differ at step {number} ({_difference(one, other)}); {remedy}")
    if len(first) != len(second):
        raise DataError(f"{what} have {len(first) - 1} and {len(second) - 1} steps; {remedy}")


def _play(
    env: AnyEnv, options: Mapping[str, Any] | None, seed: int, steps: int, actions: Sequence[str]
) -> list[Moment]:
    moments = [reset(env, options, seed)]
    rng = random.Random(seed)
    for number in range(steps):
        admissible = moments[-1].info.get("admissible_commands")
        # Nonsense once, after a real step, so that there is a state to spoil.
        nonsense = number == 1 and admissible is not None
        action = NONSENSE if nonsense else rng.choice(admissible or list(actions) or _FALLBACK_ACTIONS)
        moments.append(step(env, action))
        if nonsense:
            _check_rejection(moments[-1], admissible)
        elif admissible and moments[-1].info["invalid"]:
            raise ConfigError(f"{action!r} was admissible and rejected; list in admissible_commands what step() takes.")
        if moments[-1].ended:
            break
    return moments


def reset(env: AnyEnv, options: Mapping[str, Any] | None, seed: int) -> Moment:
    """Reset and check what comes back."""
    answer: Any = ask("reset()", lambda: env.reset(seed=seed, options=None if options is None else dict(options)))
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ConfigError(f"reset() returned {kind(answer)}; return the pair (observation, info).")
    observation, info = answer
    _check_observation("reset()", observation)
    _check_info("reset()", info, reset=True)
    return Moment(None, observed(observation), 0.0, False, False, _visible(info))


def step(env: AnyEnv, action: str) -> Moment:
    """Step and check what comes back."""
    answer: Any = ask(f"step({action!r})", lambda: env.step(action))
    if not isinstance(answer, tuple) or len(answer) != 5:
        raise ConfigError(f"step() returned {kind(answer)}; return (observation, reward, terminated, truncated, info).")
    observation, reward, terminated, truncated, info = answer
    _check_observation("step()", observation)
    if isinstance(reward, bool | np.bool_) or not isinstance(reward, Real) or not math.isfinite(reward):
        raise ConfigError(f"step() returned the reward {reward!r} of {kind(reward)}; return a finite number.")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, bool | np.bool_):
            raise ConfigError(f"step() returned {name}={flag!r} of {kind(flag)}; return a bool.")
    _check_info("step()", info, reset=False)
    if info["won"] and not terminated:
        raise ConfigError("step() reported won=True without terminated=True; a solved task ends the episode.")
    return Moment(action, observed(observation), float(reward), bool(terminated), bool(truncated), _visible(info))


def _check_observation(where: str, observation: Any) -> None:
    parts = list(observation.values()) if isinstance(observation, Mapping) else [observation]
    if not parts or not all(isinstance(part, str) or is_picture(part) for part in parts):
        raise ConfigError(
            f"{where} returned an observation of {kind(observation)}; describe the state in a str, or show it in a "
            "uint8 array [height, width, 3]."
        )
    check_text(f"the observation of {where}", *(part for part in parts if isinstance(part, str)))


def check_text(what: str, *texts: str) -> None:
    """Refuse text that no file and no tokenizer takes.

    Raises:
        ConfigError: it holds half of a surrogate pair.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{what} cannot be written as UTF-8 ({error.reason}); decode it with errors='replace'."
            ) from error


def _check_info(where: str, info: Any, reset: bool) -> None:
    if not isinstance(info, dict):
        raise ConfigError(f"{where} returned an info of {kind(info)}; return a dict.")
    for key in ("won",) if reset else ("won", "invalid"):
        if not isinstance(info.get(key), bool | np.bool_):
            raise ConfigError(f"info['{key}'] of {where} is {info.get(key)!r}; set it to a bool.")
    if reset and not isinstance(info.get("instruction"), str):
        raise ConfigError(
            f"info['instruction'] of {where} is {info.get('instruction')!r}; set it to the task in words."
        )
    if reset and not info["instruction"].strip():
        raise DataError("info['instruction'] of reset() is empty; say what the task is.")
    if not isinstance(info.get("overview", ""), str):
        raise ConfigError(f"info['overview'] of {where} is {kind(info['overview'])}; leave it out or set it to a str.")
    check_text(f"info['instruction'] of {where}", info.get("instruction", ""))
    score = info.get("score")
    if score is not None and (isinstance(score, bool | str) or not isinstance(score, Real) or not math.isfinite(score)):
        raise ConfigError(f"info['score'] of {where} is {score!r}; leave it out or set it to a finite number.")
    if not isinstance(info.get("anchor", ""), str):
        raise ConfigError(f"info['anchor'] of {where} is {kind(info['anchor'])}; leave it out or set it to a str.")
    commands = info.get("admissible_commands")
    if commands is not None:
        if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
            raise ConfigError(f"info['admissible_commands'] of {where} is no list of str; leave it out or return one.")
        if commands != sorted(set(commands)):
            raise ConfigError(f"info['admissible_commands'] of {where} is unsorted or repeats a command; sort the set.")


def _check_rejection(moment: Moment, before: list[str] | None) -> None:
    if not moment.info["invalid"]:
        raise ConfigError("step() accepted a nonsense action; set info['invalid']=True for inadmissible commands.")
    if moment.terminated or moment.info.get("admissible_commands", before) != before:
        raise ConfigError("an invalid action changed the state of the environment; leave the state as it was.")


def _visible(info: dict[str, Any]) -> dict[str, Any]:
    keys = ("instruction", "won", "invalid", "admissible_commands", "overview")
    return {key: info[key] for key in keys if key in info}


def _difference(one: Moment, other: Moment) -> str:
    for name in Moment.__slots__:
        if getattr(one, name) != getattr(other, name):
            return f"{name}: {getattr(one, name)!r:.120} and {getattr(other, name)!r:.120}"
    return "equal"
