# ruff: noqa: N803, N806
"""Group-relative advantages as pure functions of returns.

Shape suffixes: G members of one comparison group, B entries (turns or rows) of many groups.
All functions take real numbers of any precision and compute in float64.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from himac.rollout.returns import all_equal
from himac.settings import StdKind

Float64Array = NDArray[np.float64]


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
    centred_G = _centred(returns_G)
    if std == "none" or not centred_G.any():
        return centred_G
    if std not in ("population", "sample"):
        raise ValueError(f"unknown std kind {std!r}; use 'population', 'sample' or 'none'")
    return np.divide(centred_G, float(centred_G.std(ddof=1 if std == "sample" else 0)) + eps)


def rloo(returns_G: ArrayLike) -> Float64Array:
    """A_i = R_i - mean of the other returns (leave-one-out; Ahmadian et al. 2024).

    Groups whose returns are all equal, groups of one included, give exactly 0.

    Args:
        returns_G: Returns of one group, [G].

    Returns:
        float64 [G].
    """
    centred_G = _centred(returns_G)
    return np.multiply(centred_G, len(centred_G) / max(len(centred_G) - 1, 1))


def relative_by_group(
    returns_B: ArrayLike, group_B: Sequence[Hashable], std: StdKind = "population", eps: float = 1e-6
) -> Float64Array:
    """`group_relative` of entries that belong to many groups.

    Args:
        returns_B: Return of each entry, [B].
        group_B: Comparison group of each entry.

    Returns:
        float64 [B].
    """
    returns_B = _checked(returns_B)
    if len(group_B) != len(returns_B):
        raise ValueError(f"{len(returns_B)} returns need as many groups")
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(group_B):
        members.setdefault(group, []).append(i)
    advantages_B = np.zeros_like(returns_B)
    for indices in members.values():
        advantages_B[indices] = group_relative(returns_B[indices], std, eps)
    return advantages_B


def _centred(returns_G: ArrayLike) -> Float64Array:
    """The returns less their mean; exactly 0 in a group that teaches nothing."""
    returns_G = _checked(returns_G)
    if all_equal(returns_G):
        return np.zeros_like(returns_G)
    centred_G: Float64Array = returns_G - returns_G.mean()
    return centred_G


def _checked(returns: ArrayLike) -> Float64Array:
    array = np.asarray(returns)
    assert array.ndim == 1, f"expected a vector of returns, got shape {array.shape}"
    assert array.size == 0 or array.dtype.kind in "fiub", f"expected real returns, got dtype {array.dtype}"
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("returns must be finite; check the rewards of the environment")
    return array
