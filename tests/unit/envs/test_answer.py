"""The door: what an environment answers is what was promised, or an error that says what to repair."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from himac.envs.answer import LARGEST, EnvResult, checked
from himac.envs.pool import EnvPool
from himac.errors import EnvironmentFailureError
from himac.scene import Scene, observed
from support import rogue

USUAL = ("start", 0.5, False, False, {"won": False, "invalid": False})
UNANSWERED = ("sleeps", "spins and catches", "recurses", "raises", "exits")  # the pool's
AT_ONCE = [way for way in rogue.STEPS if not way.startswith(UNANSWERED)]


def test_a_good_answer_passes() -> None:
    info = {"won": np.bool_(True), "invalid": False, "score": np.float32(0.5), "admissible_commands": ["a", "b"]}
    result = checked(("ä", np.float64(1), np.bool_(True), False, {**info, "anchor": "here", "more": 1}), True)
    kept = {"won": True, "invalid": False, "score": 0.5, "admissible_commands": ["a", "b"], "anchor": "here"}
    assert result == EnvResult("ä", 1.0, True, False, kept)
    assert [type(result.info[key]) for key in ("won", "score")] == [bool, float]
    assert checked(("start", {}), False) == EnvResult("start", 0.0, False, False, {})
    assert checked(("start", {"score": None}), False).info == {}


@pytest.mark.parametrize("way", AT_ONCE)
def test_what_does_not_pass(way: str) -> None:
    with pytest.raises(EnvironmentFailureError, match=r"return|decode"):
        checked(rogue.STEPS[way](USUAL), True)


@pytest.mark.parametrize("way", [way for way in rogue.RESETS if way not in ("reset sleeps", "reset raises")])
def test_what_does_not_pass_at_a_reset(way: str) -> None:
    with pytest.raises(EnvironmentFailureError, match=r"return|decode"):
        checked(rogue.RESETS[way](("start", {"instruction": "red"})), False)


@pytest.mark.parametrize("way", rogue.HARMLESS)
def test_what_is_made_harmless(way: str) -> None:
    result = checked(rogue.HARMLESS[way](USUAL), True, 100)
    assert isinstance(result.observation, str)
    assert len(result.observation) <= 100 >= len(result.info.get("anchor", ""))


def test_a_long_text_around_pictures_is_cut_as_a_whole() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    scene = checked((["a" * 60, picture, "b" * 60, picture, "c"], {}), False, 100).observation
    assert scene == Scene(("a" * 60, *observed(picture).parts, "b" * 40, *observed(picture).parts))  # type: ignore[union-attr]


def test_the_bound_of_rewards() -> None:
    for reward in (LARGEST, -LARGEST):
        assert checked((*USUAL[:1], reward, *USUAL[2:]), True).reward == reward
    with pytest.raises(EnvironmentFailureError, match="of at most 1e"):
        checked((*USUAL[:1], math.nextafter(LARGEST, 2e9), *USUAL[2:]), True)


@pytest.mark.parametrize("workers", [0, 1])
def test_every_way_is_one_result_and_the_pool_goes_on(workers: int) -> None:
    """Those that hang too: two of them, and one whose `close` hangs besides."""
    ways = dict.fromkeys([*rogue.STEPS, *rogue.RESETS, "raises, and close sleeps"], True)
    ways |= dict.fromkeys(rogue.HARMLESS, False) | (dict.fromkeys(rogue.FATAL, True) if workers else {})
    with EnvPool(rogue.RogueEnv, workers, timeout_s=0.3, max_characters=1000) as pool:
        handle = pool.acquire()

        def ask(*command: Any) -> EnvResult:
            pool.submit(handle, command)  # type: ignore[arg-type]
            [(_, result)] = pool.poll(block=True)
            return result

        for way, fails in ways.items():
            started = time.monotonic()
            results = [ask("reset", rogue.task(way).options, 0)]
            while results[-1].error is None and len(results) < 3:
                results.append(ask("step", "red"))
            assert (results[-1].error is not None) == fails, f"{way}: {results[-1]}"
            assert time.monotonic() - started < 10, way
            (results[-1].error or "").encode()
        assert ask("reset", rogue.task().options, 0).error is None


def test_what_happens_to_the_options_stays_with_the_environment() -> None:
    with EnvPool(rogue.RogueEnv) as pool:
        options = rogue.task("changes its options").options
        handle = pool.acquire()
        pool.submit(handle, ("reset", options, 0))
        pool.poll(block=True)
        assert options["colours"] == ["red", "blue"]


def test_the_door_costs_microseconds() -> None:
    """Best of many, so that a busy machine does not decide."""
    info = {"won": False, "invalid": False, "score": 0.5, "anchor": "x", "admissible_commands": ["go to fridge 1"] * 30}

    def best(call: Any) -> float:
        spent = []
        for _ in range(30):
            started = time.perf_counter()
            for _ in range(200):
                call()
            spent.append((time.perf_counter() - started) / 200)
        return min(spent)

    assert best(lambda: checked(("You see a fridge 1.", 0.0, False, False, info), True)) < 20e-6
