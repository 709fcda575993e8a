"""Reinforcement learning makes a careless imitator careful: the whole loop with a real model and engine.

The model has learned to copy colours from clean demonstrations and then, from careless ones, to pick a wrong one now
and then, so that about a third of its sampled episodes succeed. `make test-arithmetic` makes the same runs with other
seeds, instructions of the CPU and threads.

With the sign of the advantages flipped all fall to 3 % or less, and so does HiPER with that of the action's or the
sub-goal's level alone; GiGPO with that of its step part alone to 6 %.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from support.learning import AGENTS, CASES, learning_run, make_imitator, objection


@pytest.fixture(scope="module")
def imitator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The imitator of a kind of agent, made when it is asked for."""
    return cache(lambda agent: make_imitator(agent, tmp_path_factory.mktemp(agent)))


@pytest.mark.parametrize("algorithm", CASES)
def test_success_rises(algorithm: str, imitator: Callable[[str], Path], tmp_path: Path) -> None:
    for phase, success in learning_run(algorithm, 0, imitator(AGENTS[algorithm]), tmp_path / "run").items():
        assert objection(success) is None, f"{phase}: {success}"


@pytest.mark.parametrize(
    ("success", "why"),
    [
        ([0.1, 0.1, 0.9, 0.9, 0.9], "starts at 0.10"),
        ([0.6, 0.6, 1.0, 1.0, 1.0], "starts at 0.60"),
        ([0.3, 0.3, 0.6, 0.6, 0.6], "to 0.60 only"),
        ([0.5, 0.8, 0.8, 0.8, 0.8], "to 0.80 only"),
        ([0.3, 0.9, 1.0, 0.6, 1.0], "back to 0.60"),
        ([0.3, 0.4, 0.9, 0.7, 0.9], None),
    ],
)
def test_what_counts_as_learning(success: list[float], why: str | None) -> None:
    said = objection(success)
    assert said is None if why is None else said is not None and why in said
