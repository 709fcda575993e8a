# ruff: noqa: N803, N806
"""Undiscounted returns with the failure floor, and when a group of them teaches nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from himac.types import StopReason

# Sums of the same rewards in another order differ by rounding; such returns count as equal.
_EQUAL_RTOL = 1e-9


def episode_return(
    reward_sum: float, stop: StopReason, steps: int, step_limit: int, worst_step: float, failure_penalty: float
) -> float:
    """Return R of an episode.

    A success keeps its rewards. Every failure, whatever its stop reason, gets the same floor: the penalty, plus the
    worst reward a step can have for every step that was not taken. So no way of stopping early returns more than the
    same episode played on to the step limit without success: quitting never pays.

    Args:
        reward_sum: Environment rewards and penalties of invalid actions so far.
        worst_step: Least reward of one step, at most 0 (environment's worst plus the invalid-action penalty).
        failure_penalty: At most 0.
    """
    if stop is StopReason.SUCCESS:
        return reward_sum
    return reward_sum + failure_penalty + max(step_limit - steps, 0) * worst_step


def all_equal(returns_G: ArrayLike) -> bool:
    """Whether the returns of a group, [G], are equal up to rounding, so that comparing them teaches nothing."""
    returns_G = np.asarray(returns_G, dtype=np.float64)
    return len(returns_G) < 2 or bool(np.ptp(returns_G) <= _EQUAL_RTOL * np.abs(returns_G).max())
