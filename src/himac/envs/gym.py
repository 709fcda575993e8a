"""Any Gymnasium environment with text or picture observations and text actions, used by its id."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium

from himac.envs.words import Describe, WordsEnv
from himac.errors import ConfigError, DataError, MissingDependencyError
from himac.plugins import resolve
from himac.scene import Content, is_picture, observed, plain
from himac.types import Demonstration, PromptTexts, Task

VALID_SEED = 1 << 30
"""Seeds of the train split are below, seeds of the valid split start here."""

_PLANS = (
    ("look around", "do the task"),
    ("explore", "collect what is needed", "finish the task"),
    ("find out what can be done", "do it", "check the result"),
)


class GymTextEnv(gymnasium.Wrapper[Any, str, Any, str]):
    """Adds the `info` keys of `himac.envs.base` where the environment does not set them.

    `instruction` is the text of the first observation; `won` is `info["is_success"]`, or else an end with a positive
    reward.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Content, dict[str, Any]]:
        rest = dict(options or {})
        seed = rest.pop("seed", seed)
        observation, info = self.env.reset(seed=seed, options=rest or None)
        seen = _seen(observation)
        return seen, {**_common(info), "instruction": str(info.get("instruction", plain(seen))), "won": False}

    def step(self, action: str) -> tuple[Content, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        default = info.get("is_success", terminated and float(reward) > 0)
        won = bool(info.get("won", default))
        added = {"won": won, "invalid": bool(info.get("invalid", False))}
        return _seen(observation), float(reward), bool(terminated) or won, bool(truncated), {**_common(info), **added}


def _seen(observation: Any) -> Content:
    """Text, a uint8 picture [height, width, 3], or a mapping with `text`, `image` or both."""
    if isinstance(observation, Mapping):
        observation = {key: observation[key] for key in ("text", "image") if key in observation} or None
    if not isinstance(observation, str | Mapping) and not is_picture(observation):
        raise ConfigError(
            f"the environment observes {type(observation).__name__}, not text or a uint8 RGB picture; register it with "
            "a wrapper that describes the state in words."
        )
    return observed(observation)


def _common(info: Mapping[str, Any]) -> dict[str, Any]:
    commands = info.get("admissible_commands")
    return dict(info) if commands is None else {**info, "admissible_commands": sorted(set(commands))}


class GymBenchmark:
    """A Gymnasium environment as a benchmark: a task is a seed, and the splits share no seed.

    Args:
        id: Gymnasium id; `package.module:Name-v0` imports the module that registers it.
        kwargs: Passed to `gymnasium.make`.
        train_tasks, valid_tasks: Tasks of each split.
        reward_scale: Training reward per unit of environment reward.
        worst_step_reward: What a step costs whatever it does, as a training reward; 0 or below.
        actions: Names of the actions of a `Discrete` action space, in order: the agent acts in these words.
        describe: `<module>:<function>` that puts (observation, environment) into words, for observations that are
            neither text nor a picture; `himac.envs.minigrid:describe` for MiniGrid and BabyAI.
        planner, executor, flat: The rules of the environment as each role is told them.
    """

    def __init__(
        self,
        id: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        train_tasks: int = 1000,
        valid_tasks: int = 100,
        reward_scale: float = 1.0,
        worst_step_reward: float = 0.0,
        actions: Sequence[str] = (),
        describe: str = "",
        planner: str = "Write the sub-goals that solve the task as a numbered list, one a line, and nothing else.",
        executor: str = "Do the sub-goal with one action a turn. Reply <sub_done> as soon as it is achieved.",
        flat: str = "Solve the task with one action a turn.",
    ) -> None:
        for name, count in (("train_tasks", train_tasks), ("valid_tasks", valid_tasks)):
            if not 0 < count < VALID_SEED:
                raise ConfigError(f"{name} of gym:{id} is {count}; choose a number from 1 to {VALID_SEED - 1}.")
        if not -math.inf < worst_step_reward <= 0:
            raise ConfigError(f"worst_step_reward of gym:{id} is {worst_step_reward}; it must be finite, 0 or below.")
        if not 0 < reward_scale < math.inf:
            raise ConfigError(f"reward_scale of gym:{id} is {reward_scale}; it must be finite and above 0.")
        self.id = id
        self.kwargs = dict(kwargs or {})
        self.name = f"gym:{id}"
        self.texts = PromptTexts(planner=planner, executor=executor, flat=flat)
        self.reward_scale = reward_scale
        self.worst_step_reward = worst_step_reward
        self._actions = tuple(actions)
        self._describe: Describe | None = resolve("describer", describe, describe, "correct it") if describe else None
        self._first = {"train": 0, "valid": VALID_SEED}
        self._count = {"train": train_tasks, "valid": valid_tasks}

    def splits(self) -> Sequence[str]:
        """`train` and `valid`."""
        return tuple(self._first)

    def tasks(self, split: str) -> list[Task]:
        """One task a seed, sorted by id."""
        if split not in self._first:
            raise ConfigError(
                f"benchmark '{self.name}' has no split '{split}'; choose one of {', '.join(self._first)}."
            )
        first = self._first[split]
        seeds = range(first, first + self._count[split])
        return [Task(f"{split}-{seed - first:010d}", self.id, {"seed": seed}) for seed in seeds]

    def split_hash(self, split: str) -> str:
        """SHA-256 (hex) of the environment's id, its arguments and the seeds."""
        digest = hashlib.sha256(f"{self.id}\n{sorted(self.kwargs.items())!r}\n".encode())
        for task in self.tasks(split):
            digest.update(f"{task.options['seed']}\n".encode())
        return digest.hexdigest()

    def make_env(self) -> gymnasium.Env[Any, Any]:
        """A new environment.

        Raises:
            ConfigError: no such id, arguments the environment refuses, or actions that are not text.
            MissingDependencyError: the module that registers the id is not installed.
        """
        try:
            env: gymnasium.Env[Any, Any] = gymnasium.make(self.id, **self.kwargs)
        except (gymnasium.error.Error, TypeError) as error:
            detail = " ".join(str(error).split())
            raise ConfigError(f"gymnasium cannot make '{self.id}': {detail}; check env.name and env.kwargs.") from error
        except ModuleNotFoundError as error:
            module = error.name or self.id.partition(":")[0]  # Gymnasium leaves the name out
            raise MissingDependencyError(
                f"'{self.id}' needs the module '{module}'; install the package that registers the environment."
            ) from error
        if self._actions or self._describe:
            env = WordsEnv(env, self._actions, self._describe)
        if not isinstance(env.action_space, gymnasium.spaces.Text):
            raise ConfigError(
                f"'{self.id}' takes actions from {type(env.action_space).__name__} and observes "
                f"{type(env.observation_space).__name__}, but agents act in text and read text or pictures; "
                "name the actions in env.kwargs.actions and, where the observation is neither text nor a picture, give "
                "env.kwargs.describe."
            )
        return GymTextEnv(env)

    def start_text(self, subgoal: str, overview: str, observation: str) -> str:
        """The latest observation, with the overview before it where there is one."""
        return f"{overview}\n{observation}" if overview and overview != observation else observation

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """Gymnasium environments bring no demonstrator.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"'{self.name}' has no demonstrator; start from a model that can act (model.path) instead of a warm start."
        )

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """One of a few plans that fit any task."""
        return rng.choice(_PLANS)
