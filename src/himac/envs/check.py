"""Checks that an environment or a benchmark keeps the promises of `himac.envs.base`.

`ConfigError` means that the interface is broken, `DataError` that the interface holds but the content does not
(an empty instruction, an episode that cannot be repeated).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import gymnasium
import numpy as np

from himac.envs.base import Benchmark
from himac.errors import ConfigError, DataError
from himac.scene import Content, is_picture, observed

NONSENSE = "himac check-env: no environment knows this action"
_FALLBACK_ACTIONS = ("look", "help", "inventory")


def check_env(
    env: gymnasium.Env[Any, Any],
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
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"make_env() returned {_kind(env)}, which is no gymnasium.Env; derive the environment from gymnasium.Env."
        )
    space = getattr(env, "action_space", None)
    if space is not None and not isinstance(space, gymnasium.spaces.Text):
        raise ConfigError(
            f"the action space is {_kind(space)}, but agents act in text; use gymnasium.spaces.Text or a wrapper."
        )
    first = _play(env, options, seed, steps, actions)
    second = _play(env, options, seed, steps, actions)
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            raise DataError(
                f"two episodes with seed {seed} and the same actions differ at step {number} "
                f"({_difference(one, other)}); draw every random number from self.np_random."
            )
    if len(first) != len(second):
        raise DataError(
            f"two episodes with seed {seed} and the same actions had {len(first) - 1} and {len(second) - 1} steps; "
            "draw every random number from self.np_random."
        )


def check_benchmark(benchmark: Benchmark, tasks_per_split: int = 2, seed: int = 0) -> None:
    """Check a benchmark's splits and play a few tasks of each.

    Raises:
        ConfigError: an attribute has the wrong type, or an environment breaks the interface.
        DataError: a split is empty, unsorted or repeats a task, or two splits share one.
    """
    owner: dict[str, str] = {}
    for split in benchmark.splits():
        ids = [task.id for task in benchmark.tasks(split)]
        if not ids:
            raise DataError(f"split '{split}' of '{benchmark.name}' has no tasks; remove it or check its data.")
        if ids != sorted(ids):
            raise DataError(f"the tasks of split '{split}' of '{benchmark.name}' are not sorted by id; sort them.")
        for name in ids:
            if name in owner:
                raise DataError(
                    f"task '{name}' of '{benchmark.name}' is in '{owner[name]}' and again in '{split}'; "
                    "every task belongs to one split, once."
                )
            owner[name] = split
        if benchmark.split_hash(split) != benchmark.split_hash(split):
            raise DataError(f"the hash of split '{split}' of '{benchmark.name}' changes from call to call.")
    env = benchmark.make_env()
    try:
        for split in benchmark.splits():
            for task in benchmark.tasks(split)[:tasks_per_split]:
                check_env(env, task.options, seed=seed)
    finally:
        env.close()


@dataclass(frozen=True, slots=True)
class _Moment:
    """What must repeat: everything an agent can see of one step."""

    action: str | None
    observation: Content
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


def _play(
    env: gymnasium.Env[Any, Any], options: Mapping[str, Any] | None, seed: int, steps: int, actions: Sequence[str]
) -> list[_Moment]:
    answer = env.reset(seed=seed, options=None if options is None else dict(options))
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ConfigError(f"reset() returned {_kind(answer)}; return the pair (observation, info).")
    observation, info = answer
    _check_observation("reset()", observation)
    _check_info("reset()", info, reset=True)
    moments = [_Moment(None, observed(observation), 0.0, False, False, _visible(info))]
    rng = random.Random(seed)
    for number in range(steps):
        admissible = info.get("admissible_commands")
        # Nonsense once, after a real step, so that there is a state to spoil.
        nonsense = number == 1 and admissible is not None
        action = NONSENSE if nonsense else rng.choice(admissible or list(actions) or _FALLBACK_ACTIONS)
        moment, info = _step(env, action)
        if nonsense:
            _check_rejection(moment, admissible)
        moments.append(moment)
        if moment.terminated or moment.truncated:
            break
    return moments


def _step(env: gymnasium.Env[Any, Any], action: str) -> tuple[_Moment, dict[str, Any]]:
    answer: Any = env.step(action)
    if not isinstance(answer, tuple) or len(answer) != 5:
        raise ConfigError(
            f"step() returned {_kind(answer)}; return (observation, reward, terminated, truncated, info)."
        )
    observation, reward, terminated, truncated, info = answer
    _check_observation("step()", observation)
    if isinstance(reward, bool | np.bool_) or not isinstance(reward, Real) or not math.isfinite(reward):
        raise ConfigError(f"step() returned the reward {reward!r} of {_kind(reward)}; return a finite number.")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, bool | np.bool_):
            raise ConfigError(f"step() returned {name}={flag!r} of {_kind(flag)}; return a bool.")
    _check_info("step()", info, reset=False)
    if info["won"] and not terminated:
        raise ConfigError("step() reported won=True without terminated=True; a solved task ends the episode.")
    return _Moment(
        action, observed(observation), float(reward), bool(terminated), bool(truncated), _visible(info)
    ), info


def _check_observation(where: str, observation: Any) -> None:
    parts = list(observation.values()) if isinstance(observation, Mapping) else [observation]
    if not parts or not all(isinstance(part, str) or is_picture(part) for part in parts):
        raise ConfigError(
            f"{where} returned an observation of {_kind(observation)}; describe the state in a str, or show it in a "
            "uint8 array [height, width, 3]."
        )


def _check_info(where: str, info: Any, reset: bool) -> None:
    if not isinstance(info, dict):
        raise ConfigError(f"{where} returned an info of {_kind(info)}; return a dict.")
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
        raise ConfigError(f"info['overview'] of {where} is {_kind(info['overview'])}; leave it out or set it to a str.")
    commands = info.get("admissible_commands")
    if commands is not None:
        if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
            raise ConfigError(f"info['admissible_commands'] of {where} is no list of str; leave it out or return one.")
        if commands != sorted(set(commands)):
            raise ConfigError(f"info['admissible_commands'] of {where} is unsorted or repeats a command; sort the set.")


def _check_rejection(moment: _Moment, before: list[str] | None) -> None:
    if not moment.info["invalid"]:
        raise ConfigError("step() accepted a nonsense action; set info['invalid']=True for inadmissible commands.")
    if moment.terminated or moment.info.get("admissible_commands", before) != before:
        raise ConfigError("an invalid action changed the state of the environment; leave the state as it was.")


def _visible(info: dict[str, Any]) -> dict[str, Any]:
    keys = ("instruction", "won", "invalid", "admissible_commands", "overview")
    return {key: info[key] for key in keys if key in info}


def _difference(one: _Moment, other: _Moment) -> str:
    for name in _Moment.__slots__:
        if getattr(one, name) != getattr(other, name):
            return f"{name}: {getattr(one, name)!r:.120} and {getattr(other, name)!r:.120}"
    return "equal"


def _kind(value: Any) -> str:
    return f"type {type(value).__name__}"
