"""Lists of chores and purchases: nothing is paid twice, out of turn or beyond 1, and a list can be done."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from himac.envs.base import Benchmark
from himac.envs.registry import make_benchmark
from himac.errors import HimacError

_COUNTS = (1, 2, 3, 4, 8)


@lru_cache(maxsize=8)
def _chores(count: int) -> Any:
    return make_benchmark("chores", chores=count, data="builtin:small")


@lru_cache(maxsize=8)
def _shop(count: int) -> Any:
    return make_benchmark("webshop", view="compact", tagger="rule", purchases=count)


def chores_pay_once_and_in_turn(number: int, folder: Path) -> str | None:
    """Random and demonstrated commands mixed; what is paid, said and scored must agree at every step."""
    return _attempt(number, _chores, "valid", "Chore {done} of {total} is done.", counted=True)


def purchases_pay_once_and_in_turn(number: int, folder: Path) -> str | None:
    """As above in the shop."""
    return _attempt(number, _shop, "eval", "Purchase {done} of {total} is made.", counted=False)


def _attempt(number: int, make: Any, split: str, note: str, counted: bool) -> str | None:
    rng = random.Random(number)
    total = _COUNTS[number % len(_COUNTS)]
    try:
        benchmark: Benchmark = make(total)
        tasks = benchmark.tasks(split)
    except HimacError as error:
        return f"there are no lists: {error}"
    task = tasks[rng.randrange(len(tasks))]
    demo = benchmark.demonstrate(task, rng)
    known = [turn.action for segment in demo.segments for turn in segment.turns if turn.action is not None]
    return _played(benchmark, dict(task.options), known, total, note, counted, rng)


def _played(
    benchmark: Benchmark,
    options: dict[str, Any],
    known: Sequence[str],
    total: int,
    note: str,
    counted: bool,
    rng: random.Random,
) -> str | None:
    """Play one episode; `counted` says that what is said follows from what is paid."""
    env = benchmark.make_env()
    _, info = env.reset(options=options)
    if info["score"] != 0.0 or info["won"]:
        return f"a list begins with score {info['score']}"
    wild, paid = rng.random(), 0.0
    turned = rng.choice((0, 0, rng.randrange(len(known))))  # some begin with what is to be done last
    waiting = [*known[turned:], *known[:turned]]
    for _ in range(40 * total):
        # Some of the right commands, in their order, between others; sometimes the right ones alone.
        action = waiting.pop(0) if waiting and rng.random() > wild else rng.choice(info["admissible_commands"])
        before = info["score"]
        shown, reward, terminated, truncated, info = env.step(action)
        paid += reward
        said = shown.startswith(note.split("{")[0])
        if reward < 0 or paid > 1 + 1e-9:
            return f"{action!r} pays {reward}, {paid} in all"
        if info["score"] < before:
            return f"{action!r} takes the score from {before} to {info['score']}"
        if info["won"] != (abs(paid - 1) < 1e-9):
            return f"won is {info['won']} with {paid} paid"
        if reward > 0 and not (said or terminated):
            return f"{action!r} pays without a word about it: {shown!r}"
        if counted and said and not shown.startswith(note.format(done=round(paid * total), total=total)):
            return f"{shown!r} with {paid} paid"
        if info["won"] and not terminated:
            return "a list that is done goes on"
        if terminated or truncated:
            return None
    return None
