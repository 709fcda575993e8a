# ruff: noqa: N803, N806
"""Group-relative advantages as pure functions of returns.

Shape suffixes: G members of one comparison group, B entries (trajectories, turns or rows) of many groups.
All functions take real numbers of any precision and compute in float64.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from himac.config import StdKind

SingletonKind = Literal["zero", "raw"]
Float64Array = NDArray[np.float64]

# Sums of the same rewards in another order differ by rounding; such returns count as equal.
_EQUAL_RTOL = 1e-9


def group_relative(returns_G: ArrayLike, std: StdKind = "population", eps: float = 1e-6) -> Float64Array:
    """A_i = (R_i - mean(R)) / (std(R) + eps), eq. 2 of HiMAC.

    Groups whose returns are all equal, groups of one included, give exactly 0.

    Args:
        returns_G: Returns of one group, [G].
        std: `population` divides by G, `sample` by G - 1 (as torch.std does), `none` leaves the centred
            returns unscaled (Dr. GRPO).
        eps: Added to the standard deviation.

    Returns:
        float64 [G].
    """
    returns_G = _checked(returns_G)
    if is_degenerate(returns_G):
        return np.zeros_like(returns_G)
    centred_G: Float64Array = returns_G - returns_G.mean()
    if std == "none":
        return centred_G
    if std not in ("population", "sample"):
        raise ValueError(f"unknown std kind {std!r}; use 'population', 'sample' or 'none'")
    scale = float(returns_G.std(ddof=1 if std == "sample" else 0)) + eps
    return np.divide(centred_G, scale)


def rloo(returns_G: ArrayLike) -> Float64Array:
    """A_i = R_i - mean of the other returns (leave-one-out; Ahmadian et al. 2024).

    Groups whose returns are all equal, groups of one included, give exactly 0.

    Args:
        returns_G: Returns of one group, [G].

    Returns:
        float64 [G].
    """
    returns_G = _checked(returns_G)
    if is_degenerate(returns_G):
        return np.zeros_like(returns_G)
    advantages_G: Float64Array = (returns_G - returns_G.mean()) * (len(returns_G) / (len(returns_G) - 1))
    return advantages_G


def is_degenerate(returns_G: ArrayLike) -> bool:
    """Whether all returns of the group are equal up to rounding, so that nothing can be learned from it."""
    returns_G = _checked(returns_G)
    if len(returns_G) < 2:
        return True
    return bool(np.ptp(returns_G) <= _EQUAL_RTOL * np.abs(returns_G).max())


def degenerate_fraction(groups: Sequence[ArrayLike]) -> float:
    """Share of the groups that are degenerate; 0 without groups."""
    return sum(is_degenerate(returns_G) for returns_G in groups) / len(groups) if groups else 0.0


def outcome_advantages(
    scores_B: ArrayLike,
    group_B: Sequence[Hashable],
    trajectory_B: Sequence[Hashable] | None = None,
    *,
    estimator: Literal["grpo", "rloo"] = "grpo",
    std: StdKind = "population",
    eps: float = 1e-6,
    singleton: SingletonKind = "zero",
) -> Float64Array:
    """Advantages of entries that belong to many groups, in verl's `compute_{grpo,rloo}_outcome_advantage` form.

    Without `trajectory_B` the statistics of a group are over all its entries. With it they are over its
    trajectories, each counted once with the score of its first entry, and every entry is compared with them.

    Args:
        scores_B: Score of each entry, [B].
        group_B: Comparison group of each entry.
        trajectory_B: Trajectory of each entry; ids need to be unique only within a group.
        estimator: `grpo` (see `group_relative`) or `rloo` (see `rloo`).
        std: Standard deviation of `grpo`.
        eps: Added to the standard deviation.
        singleton: A group of one has advantage `zero`, or its `raw` score as in verl.

    Returns:
        float64 [B].
    """
    scores_B = _checked(scores_B)
    if len(group_B) != len(scores_B) or (trajectory_B is not None and len(trajectory_B) != len(scores_B)):
        raise ValueError(f"{len(scores_B)} scores need as many group and trajectory ids")
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(group_B):
        members.setdefault(group, []).append(i)
    advantages_B = np.zeros_like(scores_B)
    for indices in members.values():
        own = scores_B[indices]
        if trajectory_B is None:
            base_G = own
        else:
            first: dict[Hashable, float] = {}
            for i in indices:
                first.setdefault(trajectory_B[i], float(scores_B[i]))
            base_G = np.array(list(first.values()))
        advantages_B[indices] = _relative_to(own, base_G, estimator, std, eps, singleton)
    return advantages_B


def _relative_to(
    own: Float64Array, base_G: Float64Array, estimator: str, std: StdKind, eps: float, singleton: SingletonKind
) -> Float64Array:
    """Advantages of `own` against the group statistics of `base_G`."""
    if len(base_G) == 1:
        if singleton == "zero":
            return np.zeros_like(own)
        # verl divides by 1 + eps in float32 here, whatever the precision of the scores.
        scaled = estimator == "grpo" and std != "none"
        return np.divide(own, np.float64(np.float32(1.0) + np.float32(eps))) if scaled else own
    if is_degenerate(np.concatenate([own, base_G])):
        return np.zeros_like(own)
    centred: Float64Array = own - base_G.mean()
    if estimator == "rloo":
        return np.multiply(centred, len(base_G) / (len(base_G) - 1))
    if std == "none":
        return centred
    return np.divide(centred, float(base_G.std(ddof=1 if std == "sample" else 0)) + eps)


def _checked(returns: ArrayLike) -> Float64Array:
    array = np.asarray(returns)
    assert array.ndim == 1, f"expected a vector of returns, got shape {array.shape}"
    assert array.size == 0 or array.dtype.kind in "fiub", f"expected real returns, got dtype {array.dtype}"
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("returns must be finite; check the rewards of the environment")
    return array
