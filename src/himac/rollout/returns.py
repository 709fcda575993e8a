# ruff: noqa: N803, N806
"""Undiscounted returns with the failure floor, and when a group of them teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from himac.types import StopReason

# Sums of the same rewards in another order differ by rounding; such returns count as equal.
_EQUAL_RTOL = 1e-9


@dataclass(frozen=True, slots=True)
class Costs:
    """What failing costs.

    Every failure, whatever its stop reason, pays the penalty, the worst reward of a step for every step not taken, and
    the penalty of an invalid action for every step that was not one. So no way of stopping early returns more than the
    same episode played on without success (quitting never pays), and failures differ only in what the environment
    paid: failing slowly never pays either.

    Attributes:
        step_limit: Environment steps of an episode.
        worst_step: Least reward of one step before the penalty of an invalid action, at most 0.
        invalid_penalty, failure_penalty: At most 0.
    """

    step_limit: int
    worst_step: float = 0.0
    invalid_penalty: float = 0.0
    failure_penalty: float = 0.0

    def episode_return(self, reward_sum: float, stop: StopReason, steps: int, invalid: int = 0) -> float:
        """Return R of an episode; a success keeps its rewards.

        Args:
            reward_sum: Environment rewards and penalties of invalid actions so far.
            steps, invalid: Steps taken, and how many of them were invalid actions.
        """
        if stop is StopReason.SUCCESS:
            return reward_sum
        floor = self.failure_penalty + max(self.step_limit - steps, 0) * self.worst_step
        return reward_sum + floor + max(self.step_limit - invalid, 0) * self.invalid_penalty


def all_equal(returns_G: ArrayLike) -> bool:
    """Whether the returns of a group, [G], are equal up to rounding, so that comparing them teaches nothing."""
    returns_G = np.asarray(returns_G, dtype=np.float64)
    return len(returns_G) < 2 or bool(np.ptp(returns_G) <= _EQUAL_RTOL * np.abs(returns_G).max())
