"""Undiscounted returns with the failure floor."""

from __future__ import annotations

from himac.types import StopReason


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
