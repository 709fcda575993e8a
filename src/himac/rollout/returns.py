# ruff: noqa: N803, N806
"""Returns with the failure floor, and when a group of them teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from himac.types import Episode, StopReason

# Sums of the same rewards in another order differ by rounding; such returns count as equal.
_EQUAL_RTOL = 1e-9


@dataclass(frozen=True, slots=True)
class FailureCosts:
    """What a failed episode pays, whatever its stop reason: the floor.

    Every step of the step limit costs the worst that the environment pays for one and the penalty of an invalid
    action, taken or not, valid or not. So among failures neither quitting nor failing slowly nor failing tidily pays;
    what the environment paid beyond its worst step is what tells them apart.

    Attributes:
        worst_step: Least training reward that the environment pays for a step, at most 0.
        invalid: Penalty of an invalid action, at most 0. A success pays it for its invalid actions only.
        failure: Paid once, at most 0.
        step_limit: Steps an episode can have.
    """

    worst_step: float
    invalid: float
    failure: float
    step_limit: int

    def episode_return(self, reward_sum: float, stop: StopReason, steps: int, invalid_steps: int) -> float:
        """Return R of an episode, undiscounted.

        Args:
            reward_sum: Environment rewards and penalties of invalid actions so far.
            steps: Environment steps taken.
            invalid_steps: Those whose action was invalid.
        """
        if stop is StopReason.SUCCESS:
            return reward_sum
        missing = max(self.step_limit - steps, 0) * self.worst_step
        return reward_sum + self.failure + missing + max(self.step_limit - invalid_steps, 0) * self.invalid

    def turn_rewards(self, episode: Episode, gamma: float = 1.0) -> list[float]:
        """Reward of each turn, such that sums discounted by environment steps can be compared from any turn on.

        Without a discount the floor is paid in the last turn, and the sum is the return of the episode. With one, each
        step of a failure pays its share of the floor and after the last turn every step is the worst, for ever: from
        any turn on a failure is worth one constant, `failure + (worst_step + invalid) / (1 - gamma)`, plus what the
        environment paid beyond its worst.

        Args:
            gamma: Discount of a step.
        """
        rewards = [turn.reward for turn in episode.turns]
        if not rewards or episode.success:
            return rewards
        if gamma == 1:
            rewards[-1] += episode.ret - sum(rewards)
            return rewards
        for n, turn in enumerate(episode.turns):
            if turn.action is not None:
                rewards[n] += self.failure * (1 - gamma) + (0.0 if turn.invalid else self.invalid)
        constant = self.failure + (self.worst_step + self.invalid) / (1 - gamma)
        # A last turn without a step is followed by that state at once.
        rewards[-1] += constant * (gamma if episode.turns[-1].action is not None else 1.0)
        return rewards


def all_equal(returns_G: ArrayLike) -> bool:
    """Whether the returns of a group, [G], are equal up to rounding, so that comparing them teaches nothing."""
    returns_G = np.asarray(returns_G, dtype=np.float64)
    return len(returns_G) < 2 or bool(np.ptp(returns_G) <= _EQUAL_RTOL * np.abs(returns_G).max())
