# ruff: noqa: N803, N806
"""Truncated importance sampling: corrects for a sampler that is not quite the policy that is trained.

An engine with other kernels, another number type or older weights draws tokens from pi_sampler, while the learner takes
its model pi_old to have drawn them. A row's advantages are multiplied by

    w = min(pi_old / pi_sampler, cap)

of the token, or of all trained tokens of the row together, and the ratio of the clipped surrogate starts from pi_old.
The cap bounds the variance, at the price of some bias (Ionides 2008, "Truncated Importance Sampling"). Per token: Yao
et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training". Per row it is unbiased up to the
cap and varies more: Liu et al. 2025, "When Speed Kills Stability".

Shape suffix: M trained tokens of one row.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

CorrectionKind = Literal["none", "token", "sequence"]


def importance_weights(old_logprob_M: Tensor, sampler_logprob_M: Tensor, kind: CorrectionKind, cap: float) -> Tensor:
    """Weights [M] in [0, cap], without gradient; 1 where the two agree.

    Args:
        old_logprob_M: Of the learner's model before the update.
        sampler_logprob_M: As they were told when the tokens were sampled.
        kind: `none` gives ones.
        cap: At least 1.
    """
    assert old_logprob_M.shape == sampler_logprob_M.shape, "one log-probability of each for every token"
    assert old_logprob_M.ndim == 1, f"expected a vector [M], got shape {tuple(old_logprob_M.shape)}"
    difference_M = (old_logprob_M - sampler_logprob_M).detach()
    if kind == "none":
        return torch.ones_like(difference_M)
    if kind == "sequence":
        difference_M = difference_M.sum().expand_as(difference_M)
    return difference_M.exp().clamp(max=cap)
