"""An environment restored from a snapshot answers exactly as the one it was taken from would have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.envs.admissible import with_admissible
from himac.envs.base import Benchmark
from himac.envs.pool import EnvHandle, EnvPool, EnvResult
from himac.envs.registry import make_benchmark
from support.toy import ColourEnv

SEARCHES = ("search[<r>]", "search[red]", "search[machine wash]")
BENCHMARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "alfworld": ("alfworld", {"data": "builtin:small"}),
    "alfworld, full texts": ("alfworld", {"data": "builtin:small", "view": "full"}),
    "chores": ("chores", {"chores": 2}),
    "webshop": ("webshop", {"view": "compact"}),
    "webshop, a shopping list": ("webshop", {"view": "text_rich", "purchases": 2}),
    "sokoban": ("sokoban", {"data": "builtin:short"}),
    "sokoban, pictures": ("sokoban", {"data": "builtin:short", "observation": "image", "image_size": 48}),
}


@pytest.fixture(scope="module", params=BENCHMARKS.values(), ids=BENCHMARKS)
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    name, kwargs = request.param
    return make_benchmark(name, **kwargs)


def ask(pool: EnvPool, handle: EnvHandle, *command: Any) -> EnvResult:
    pool.submit(handle, command)
    [(_, result)] = pool.poll(block=True)
    assert result.error is None, result.error
    return result


def play(pool: EnvPool, handle: EnvHandle, info: dict[str, Any], rng: random.Random, steps: int) -> Iterator[Any]:
    """Random actions, some of them no action at all, with their answers; it goes on after the end."""
    for _ in range(steps):
        action = rng.choice([*info["admissible_commands"], "fly"])
        action = rng.choice(SEARCHES) if action.startswith("search[") else action
        answer = ask(pool, handle, "step", action)
        info = answer.info
        yield action, answer


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), before=st.integers(0, 20))
def test_it_answers_as_the_original(seed: int, before: int, benchmark: Benchmark) -> None:
    rng = random.Random(seed)
    task, other = rng.sample(benchmark.tasks("train")[:50], 2)
    with EnvPool(benchmark.make_env) as pool, EnvPool(benchmark.make_env) as elsewhere:
        original, busy, fresh = pool.acquire(), pool.acquire(), elsewhere.acquire()
        info = ask(pool, original, "reset", task.options, seed).info
        for _, answer in play(pool, original, info, rng, before):
            info = answer.info
        state = ask(pool, original, "clone").state
        assert isinstance(state, bytes)
        told = list(play(pool, original, info, rng, 15))
        ask(pool, busy, "reset", other.options, 1)
        # One in the middle of another episode, one that is new, and the original itself, which has moved on.
        for where, handle in ((pool, busy), (elsewhere, fresh), (pool, original)):
            ask(where, handle, "restore", state)
            assert [(action, ask(where, handle, "step", action)) for action, _ in told] == told


@pytest.mark.parametrize("workers", [0, 1])
def test_a_snapshot_travels_between_processes(workers: int) -> None:
    benchmark = make_benchmark("sokoban", data="builtin:short")
    task = benchmark.tasks("train")[0]
    with EnvPool(with_admissible(benchmark.make_env), workers) as pool, EnvPool(benchmark.make_env) as here:
        there, mine = pool.acquire(), here.acquire()
        ask(pool, there, "reset", task.options, 0)
        ask(pool, there, "step", "up")
        ask(here, mine, "restore", ask(pool, there, "clone").state)
        assert ask(here, mine, "step", "down").info == ask(pool, there, "step", "down").info


def test_not_every_environment_has_snapshots() -> None:
    with EnvPool(ColourEnv) as pool:
        handle = pool.acquire()
        ask(pool, handle, "reset", {"colours": ["red"]}, 0)
        assert ask(pool, handle, "clone").state is None
        new = pool.acquire()
        pool.submit(new, ("clone",))
        [(_, result)] = pool.poll(block=True)
        assert "clone before reset" in (result.error or "")
