# ruff: noqa: N803, N806
"""Token credit from how far the policy has moved from its reference (DGPO, arXiv 2605.03327).

The advantage that a group-relative method gives to a whole sequence is redistributed over its tokens: those on which
the policy has left the reference, and was not sure of itself, receive more. It stands in place of the KL term.

Decided here:

- The deviation of a token is the Hellinger distance of the two distributions it could be drawn from,
  sqrt(1 - sum sqrt(p q)), in [0, 1], at the sampling temperature and before the first step of an update.
- The gate is the policy's entropy as a share of the largest entropy in the sequence, so that it has no unit. A token
  without a choice gets the least weight of its sequence.
- With T tokens of score s (gate times distance), token t has the advantage A T softmax(s / temperature)_t: the sum
  stays T A, and equal scores leave A on every token.
- A sequence is what shares one advantage within a row. Where a method gives advantages to turns, credit moves within a
  turn; where it gives one to every token (PPO), nothing changes.

Shape suffix: M trained tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def hellinger(logprobs_MV: Tensor, ref_logprobs_MV: Tensor) -> Tensor:
    """Hellinger distance of two distributions over the vocabulary, [M], in [0, 1].

    Computed as the norm of sqrt(p) - sqrt(q) over sqrt(2), which is exactly 0 for equal distributions.
    """
    assert logprobs_MV.shape == ref_logprobs_MV.shape, "the distributions are over different vocabularies"
    difference_MV = (0.5 * logprobs_MV).exp() - (0.5 * ref_logprobs_MV).exp()
    return (0.5 * difference_MV.square().sum(-1)).clamp(0.0, 1.0).sqrt()


def redistribute(
    advantage_M: Tensor, distance_M: Tensor, entropy_M: Tensor, row_M: Tensor, temperature: float = 1.0
) -> Tensor:
    """Advantages [M] with the same sum over every sequence, larger in size where the gated distance is larger.

    Args:
        advantage_M: float [M].
        distance_M: See `hellinger`, [M].
        entropy_M: Of the policy's distribution, in nats, [M].
        row_M: int64 [M], the row of each token.
        temperature: Above 0; a large one leaves the advantages as they are.
    """
    assert advantage_M.shape == distance_M.shape == entropy_M.shape == row_M.shape, "one entry a token is needed"
    if not len(advantage_M):
        return advantage_M
    unit_M, units = _units(advantage_M, row_M)
    top_U = _maximum(entropy_M, unit_M, units)
    gate_M = entropy_M / top_U.clamp(min=torch.finfo(entropy_M.dtype).tiny)[unit_M]
    score_M = gate_M * distance_M / temperature
    weight_M = (score_M - _maximum(score_M, unit_M, units)[unit_M]).exp()
    total_U = torch.zeros(units, dtype=weight_M.dtype, device=weight_M.device).index_add_(0, unit_M, weight_M)
    size_U = torch.bincount(unit_M, minlength=units)
    return advantage_M * (weight_M * size_U[unit_M] / total_U[unit_M])


def _units(advantage_M: Tensor, row_M: Tensor) -> tuple[Tensor, int]:
    """Number of the sequence of each token, [M]: tokens of one row with one advantage; and how many there are."""
    values = torch.unique(advantage_M, return_inverse=True)[1]
    keys = row_M * (int(values.max()) + 1) + values
    unit_M = torch.unique(keys, return_inverse=True)[1]
    return unit_M, int(unit_M.max()) + 1


def _maximum(values_M: Tensor, unit_M: Tensor, units: int) -> Tensor:
    start = torch.full((units,), -torch.inf, dtype=values_M.dtype, device=values_M.device)
    return start.scatter_reduce(0, unit_M, values_M, "amax")
