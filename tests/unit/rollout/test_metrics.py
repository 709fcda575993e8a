"""Figures of groups."""

from __future__ import annotations

import numpy as np
import pytest

from himac.rollout.metrics import context_metrics, group_metrics
from himac.rollout.returns import all_equal
from himac.types import Blueprint, Episode, Group, StopReason, Task
from support.episodes import made

TASK = Task("t", "kind")


def group(*returns: float) -> Group:
    episodes = tuple(
        Episode(TASK, 0, Blueprint(("go",)), None, (), ret=value, stop=StopReason.FAILURE, env_steps=1)
        for value in returns
    )
    return Group("g", TASK, episodes)


def test_equal_returns_are_degenerate_whatever_the_rounding() -> None:
    returns = [0.1, 0.1, 0.1]
    assert np.std(returns) > 0, "the case this guards against"
    assert group_metrics([group(*returns)])["degenerate_fraction"] == 1.0


@pytest.mark.parametrize("returns", [(0.0, 0.0), (0.1 + 0.2, 0.3), (1.0, 1.0 + 1e-6), (-4.0, 9.9), (-1.3,) * 7])
def test_degenerate_means_that_comparing_teaches_nothing(returns: tuple[float, ...]) -> None:
    assert group_metrics([group(*returns)])["degenerate_fraction"] == float(all_equal(returns))


def test_fractions_and_spread_are_over_groups() -> None:
    metrics = group_metrics([group(1.0, 1.0), group(0.0, 2.0)])
    assert metrics == {"degenerate_fraction": 0.5, "return_spread": 0.5}
    assert group_metrics([]) == {}


def test_segments_that_were_cut_off() -> None:
    """An episode ends with the segment that does not fit: 1 of 2 + 3 segments."""
    whole = made(StopReason.SUCCESS, subgoals=("a", "b"))
    cut = made(StopReason.CONTEXT_LIMIT, subgoals=("a", "b", "c"))
    assert context_metrics([whole, cut]) == {"segments_too_long": 0.2}
    assert context_metrics([]) == {}
