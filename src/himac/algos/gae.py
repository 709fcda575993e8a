# ruff: noqa: N803, N806
"""From the rewards of turns to the advantages of tokens: generalised advantage estimation (Schulman et al. 2016).

Shape suffixes: T tokens of a row, S turns, N tokens of the policy in the order they were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from himac.algos.advantages import Float64Array
from himac.types import BoolArray


def gae(
    rewards_N: ArrayLike, values_N: ArrayLike, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Float64Array, Float64Array]:
    """A_t = delta_t + gamma lam A_{t+1} with delta_t = r_t + gamma V_{t+1} - V_t; the value after the end is 0.

    Observations are no decisions: leave them out of the vectors, so that the state after a reply is the one in which
    the next reply begins (verl's form for many turns).

    Args:
        rewards_N: Reward of each token, [N].
        values_N: Value of the state in which each token was chosen, [N].
        gamma: Discount of a token.
        lam: 0 trusts the critic, 1 the rewards.

    Returns:
        Advantages and returns (advantage plus value: what the critic learns), both float64 [N].
    """
    rewards_N, values_N = np.asarray(rewards_N, np.float64), np.asarray(values_N, np.float64)
    assert rewards_N.ndim == 1, f"expected a vector of rewards, got shape {rewards_N.shape}"
    assert rewards_N.shape == values_N.shape, f"rewards {rewards_N.shape} and values {values_N.shape} differ in shape"
    deltas_N = rewards_N + gamma * np.append(values_N[1:], 0.0)[: len(values_N)] - values_N
    advantages_N = np.empty_like(deltas_N)
    running = 0.0
    for n in range(len(deltas_N) - 1, -1, -1):
        running = deltas_N[n] + gamma * lam * running
        advantages_N[n] = running
    return advantages_N, advantages_N + values_N


def whiten(values_N: ArrayLike, eps: float = 1e-8) -> Float64Array:
    """Mean 0 and variance 1 (N - 1 in the denominator, as in verl); fewer than two values give zeros.

    Args:
        values_N: [N].
        eps: Added to the variance.
    """
    values_N = np.asarray(values_N, np.float64)
    assert values_N.ndim == 1, f"expected a vector, got shape {values_N.shape}"
    if len(values_N) < 2:
        return np.zeros_like(values_N)
    whitened_N: Float64Array = (values_N - values_N.mean()) / np.sqrt(values_N.var(ddof=1) + eps)
    return whitened_N


def turn_rewards(ends_S: Sequence[int], rewards_S: Sequence[float], mask_T: BoolArray) -> Float64Array:
    """Each turn's reward on the last token that the policy chose up to the turn's end, [T].

    Args:
        ends_S: Where the turns end, `Turn.end`.
        rewards_S: Their rewards.
        mask_T: The policy's own tokens.
    """
    own = np.flatnonzero(mask_T)
    rewards_T = np.zeros(len(mask_T))
    for end, reward in zip(ends_S, rewards_S, strict=True):
        before = int(np.searchsorted(own, end))
        if before:
            rewards_T[own[before - 1]] += reward
    return rewards_T
