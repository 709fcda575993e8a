"""Checks that a benchmark keeps the promises of `himac.envs.base`: its members, its splits, its demonstrations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from himac.envs.base import Benchmark
from himac.envs.check.asking import ask, kind
from himac.envs.check.environment import check_env, check_text
from himac.envs.check.replay import check_demonstration
from himac.errors import ConfigError, DataError
from himac.types import PromptTexts, Task

_METHODS = ("splits", "tasks", "split_hash", "make_env", "start_text", "demonstrate", "random_blueprint")
_SEEDS = 3

Tell = Callable[[str], None]


def _nobody(passed: str) -> None:
    pass


def check_benchmark(benchmark: Benchmark, tasks_per_split: int = 2, seed: int = 0) -> None:
    """Check every member of a benchmark, and play a few tasks of each split.

    Raises:
        ConfigError: a member is missing or has the wrong type, or an environment breaks the interface.
        DataError: a split is empty, unsorted or repeats a task, two splits share one, episodes cannot be repeated, or
            demonstrations do not do what they say.
        HimacError: the benchmark's own.
    """
    check_play(benchmark, check_members(benchmark, tasks_per_split), seed)


def check_members(benchmark: Benchmark, tasks_per_split: int, tell: Tell = _nobody) -> list[Task]:
    """The part of `check_benchmark` that needs no environment.

    Args:
        tell: Called with each check that has passed, in words.

    Returns:
        The first tasks of each split.
    """
    _check_members(benchmark)
    tell("members: name, texts, rewards, methods")
    chosen = _check_splits(benchmark, tasks_per_split)
    tell(f"splits: {', '.join(chosen)}; sorted, disjoint, with content hashes")
    return [task for some in chosen.values() for task in some]


def check_play(benchmark: Benchmark, tasks: Sequence[Task], seed: int, tell: Tell = _nobody) -> None:
    """The part of `check_benchmark` that plays these tasks."""
    for task in tasks:
        _check_random_blueprint(benchmark, task, seed)
    tell(f"random_blueprint: {len(tasks)} tasks")
    shown = [demo for task in tasks if (demo := check_demonstration(benchmark, task, tasks[0], seed)) is not None]
    won = sum(demo.success for demo in shown)
    if shown and not won:
        raise DataError(
            f"the demonstrator of '{benchmark.name}' solved none of {len(shown)} tasks; let demonstrate() reach won."
        )
    told = f"{len(shown)} replayed, {won} of them to won" if shown else "none, by demonstrate()'s own word"
    tell(f"demonstrations: {told}")
    actions = sorted({turn.action for demo in shown for one in demo.segments for turn in one.turns if turn.action})
    env = ask("make_env()", benchmark.make_env)
    try:
        for task in tasks:
            check_env(env, task.options, seed=seed, actions=actions)
    finally:
        close = getattr(env, "close", None)
        if callable(close):
            ask("close()", close)
    tell(f"environment: two equal episodes in each of {len(tasks)} tasks")


def _check_members(benchmark: Benchmark) -> None:
    missing = [name for name in _METHODS if not callable(getattr(benchmark, name, None))]
    if missing:
        raise ConfigError(f"the benchmark has no method {missing[0]}(); write it as himac.envs.base.Benchmark says.")
    name, texts = getattr(benchmark, "name", None), getattr(benchmark, "texts", None)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"the benchmark's name is {name!r}; set it to the name it is registered under.")
    if not isinstance(texts, PromptTexts):
        raise ConfigError(f"texts of '{name}' is {kind(texts)}; set it to a himac.types.PromptTexts.")
    for role in ("planner", "executor", "flat"):
        told = getattr(texts, role)
        if not isinstance(told, str):
            raise ConfigError(f"texts.{role} of '{name}' is {kind(told)}; set it to the rules in words, or to ''.")
        check_text(f"texts.{role} of '{name}'", told)
    for key, low, high in (("reward_scale", 0.0, math.inf), ("worst_step_reward", -math.inf, 0.0)):
        value: Any = getattr(benchmark, key, None)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            raise ConfigError(f"{key} of '{name}' is {value!r}; set it to a finite number from {low:g} to {high:g}.")


def _check_splits(benchmark: Benchmark, count: int) -> dict[str, list[Task]]:
    """The tasks of each split that are to be played."""
    splits: Any = ask("splits()", benchmark.splits)
    if isinstance(splits, str) or not isinstance(splits, Sequence) or not all(isinstance(one, str) for one in splits):
        raise ConfigError(f"splits() returned {kind(splits)}, not a sequence of names; return for example a tuple.")
    if not splits or len(set(splits)) < len(splits):
        raise ConfigError(f"splits() returned {list(splits)!r}; name each split once, and at least one.")
    owner, hashes, chosen = dict[str, str](), dict[str, str](), dict[str, list[Task]]()
    for split in splits:
        tasks: Any = ask(f"tasks('{split}')", lambda split=split: benchmark.tasks(split))  # type: ignore[misc]
        if isinstance(tasks, str) or not isinstance(tasks, Sequence):
            raise ConfigError(f"tasks('{split}') of '{benchmark.name}' returned {kind(tasks)}; return a list of Task.")
        _claim(benchmark.name, split, tasks, owner)
        found = [ask("split_hash()", lambda split=split: benchmark.split_hash(split)) for _ in range(2)]  # type: ignore[misc]
        if not all(isinstance(one, str) and one for one in found):
            raise ConfigError(f"split_hash('{split}') of '{benchmark.name}' is {found[0]!r}; return a hash as str.")
        if found[0] != found[1]:
            raise DataError(f"the hash of split '{split}' of '{benchmark.name}' changes from call to call.")
        if found[0] in hashes:
            raise DataError(
                f"splits '{hashes[found[0]]}' and '{split}' of '{benchmark.name}' have one hash; hash their content."
            )
        hashes[found[0]] = split
        chosen[split] = list(islice(tasks, count))
    return chosen


def _claim(name: str, split: str, tasks: Sequence[Any], owner: dict[str, str]) -> None:
    """Check the tasks of a split and enter them as its own."""
    before = ""
    for task in tasks:
        if not isinstance(task, Task) or not isinstance(task.id, str) or not task.id:
            raise ConfigError(f"split '{split}' of '{name}' holds {task!r:.100}; fill it with Task, each with an id.")
        if not isinstance(task.kind, str) or not isinstance(task.options, Mapping):
            raise ConfigError(f"task '{task.id}' of '{name}' needs a str as kind and a mapping as options.")
        if task.id in owner:
            raise DataError(
                f"task '{task.id}' of '{name}' is in '{owner[task.id]}' and again in '{split}'; "
                "every task belongs to one split, once."
            )
        if task.id < before:
            raise DataError(f"the tasks of split '{split}' of '{name}' are not sorted by id; sort them.")
        owner[task.id], before = split, task.id
    if not before:
        raise DataError(f"split '{split}' of '{name}' has no tasks; remove it or check its data.")


def _check_random_blueprint(benchmark: Benchmark, task: Task, seed: int) -> None:
    where = f"random_blueprint() of '{benchmark.name}' for task '{task.id}'"
    for number in range(_SEEDS):
        plans: list[Any] = [
            ask(where, lambda: benchmark.random_blueprint(task, random.Random(f"{seed}/{number}")))  # noqa: B023
            for _ in range(2)
        ]
        if not isinstance(plans[0], tuple | list) or not all(isinstance(goal, str) for goal in plans[0]):
            raise ConfigError(f"{where} returned {plans[0]!r:.100} of {kind(plans[0])}; return a tuple of sub-goals.")
        if not plans[0] or not all(goal.strip() for goal in plans[0]):
            raise DataError(f"{where} returned {plans[0]!r:.100}; return one sub-goal or more, none of them empty.")
        if tuple(plans[0]) != tuple(plans[1]):
            raise DataError(f"{where} gave two plans for one rng; draw every random number from the given rng.")
