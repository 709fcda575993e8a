# ruff: noqa: N803, N806
"""The package's losses and advantages in the forms in which the recorded originals (verl) have them.

Shape suffixes: B rows or entries, T tokens of a padded row, N trained tokens, R rows, G members of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from himac.algos.advantages import Float64Array
from himac.algos.losses import AggregationMode, row_weights


def flatten(values_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The masked-in entries of a padded matrix, [N], and the row of each, int64 [N]."""
    row_N, column_N = mask_BT.bool().nonzero(as_tuple=True)
    return values_BT[row_N, column_N], row_N


def aggregate_flat(
    loss_N: Tensor,
    row_N: Tensor,
    rows: int,
    mode: AggregationMode,
    *,
    horizon: int | None = None,
    count_empty: bool = False,
    eps: float = 0.0,
) -> Tensor:
    """Token losses of packed rows as a scalar.

    Args:
        rows: Number of rows, empty ones included.
        count_empty: Rows without a token count in row averages.
        eps: Added to token counts that are divided by (verl uses 1e-8 in places).
    """
    counts_R = torch.bincount(row_N, minlength=rows).double()
    weight_R = row_weights(counts_R, mode, horizon=horizon)
    if count_empty and mode in ("seq-mean-token-sum", "seq-mean-token-mean"):
        weight_R = weight_R * (counts_R > 0).sum() / rows
    if mode == "token-mean":
        weight_R = weight_R * counts_R.sum() / (counts_R.sum() + eps).clamp(min=1e-30)
    elif mode == "seq-mean-token-mean":
        weight_R = weight_R * counts_R / (counts_R + eps).clamp(min=1e-30)
    return (loss_N * weight_R.to(loss_N.dtype)[row_N]).sum()


def aggregate(
    loss_BT: Tensor,
    mask_BT: Tensor,
    mode: AggregationMode,
    *,
    horizon: int | None = None,
    count_empty: bool = False,
    eps: float = 0.0,
) -> Tensor:
    """Token losses of padded rows as a scalar; the horizon is T when not given."""
    loss_N, row_N = flatten(loss_BT, mask_BT)
    rows, width = loss_BT.shape
    return aggregate_flat(
        loss_N, row_N, rows, mode, horizon=width if horizon is None else horizon, count_empty=count_empty, eps=eps
    )


def outcome_advantages(
    scores_B: ArrayLike,
    group_B: Sequence[Hashable],
    trajectory_B: Sequence[Hashable] | None,
    relative: Callable[[Float64Array], Float64Array],
    singleton: float = 1.0,
) -> Float64Array:
    """Advantages of entries of many groups, as `compute_{grpo,rloo}_outcome_advantage` has them.

    Args:
        trajectory_B: Each counts once, with the score of its first entry, and every entry is compared with them.
            Without it every entry counts.
        relative: Advantages of one group.
        singleton: A group of one has its raw score over this.
    """
    scores_B = np.asarray(scores_B, np.float64)
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(group_B):
        members.setdefault(group, []).append(i)
    advantages_B = np.zeros_like(scores_B)
    for indices in members.values():
        counted = indices
        if trajectory_B is not None:
            counted = list({trajectory_B[i]: i for i in reversed(indices)}.values())
        base_G = scores_B[counted]
        if len(base_G) == 1:
            advantages_B[indices] = scores_B[indices] / singleton
            continue
        found_G = relative(base_G)
        # An advantage is a line in the score; an entry may have another score than the first of its trajectory.
        low, high = int(base_G.argmin()), int(base_G.argmax())
        slope = (found_G[high] - found_G[low]) / max(base_G[high] - base_G[low], 1e-30)
        advantages_B[indices] = found_G[low] + slope * (scores_B[indices] - base_G[low])
    return advantages_B


def verl_eps(eps: float) -> float:
    """verl divides a group of one by 1 + eps in float32, whatever the precision of the scores."""
    return float(np.float32(1.0) + np.float32(eps))
