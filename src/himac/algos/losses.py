# ruff: noqa: N803, N806, N815
"""Policy-gradient losses as pure functions of token log-probabilities.

Shape suffixes: N trained tokens of all rows in one flat vector, R rows of that vector. Where the row of a token
matters, `row_N` holds it. Tokens that are not trained are in no vector, so that they can never carry a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

KlKind = Literal["k1", "kl", "abs", "k2", "mse", "k3", "low_var_kl", "low_var_kl_upstream"]
RatioKind = Literal["token", "sequence"]
AggregationMode = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]

_KL_CLAMP = 10.0
_LOG_RATIO_CLAMP = 20.0
_SEQUENCE_LOG_RATIO_MAX = 10.0


def kl_penalty(logprob: Tensor, ref_logprob: Tensor, kind: KlKind = "k3") -> Tensor:
    """Per-token estimate of KL(pi || ref) from samples of pi (Schulman, "Approximating KL divergence").

    With d = logprob - ref_logprob: `k1` (`kl`) is d, `abs` |d|, `k2` (`mse`) d^2/2 and `k3` (`low_var_kl`)
    exp(-d) - 1 + d, clamped to [-10, 10] like the original. `low_var_kl_upstream` is verl's later form, which
    clamps d to [-20, 20] first.

    Args:
        logprob: Log-probabilities under the policy, any shape.
        ref_logprob: The same under the reference; no gradient reaches it.
        kind: Estimator.

    Returns:
        The shape and dtype of `logprob`.
    """
    _check_same(logprob, ref_logprob)
    diff = logprob - ref_logprob.detach()
    match kind:
        case "k1" | "kl":
            return diff
        case "abs":
            return diff.abs()
        case "k2" | "mse":
            return 0.5 * diff.square()
        case "k3" | "low_var_kl":
            return (torch.exp(-diff) - 1 + diff).clamp(-_KL_CLAMP, _KL_CLAMP)
        case "low_var_kl_upstream":
            bounded = diff.clamp(-_LOG_RATIO_CLAMP, _LOG_RATIO_CLAMP)
            return (torch.exp(-bounded) - 1 + bounded).clamp(-_KL_CLAMP, _KL_CLAMP)
        case _:
            raise ValueError(f"unknown KL kind {kind!r}; use one of {', '.join(get_args(KlKind))}")


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What `policy_loss` computes per token; all [N].

    Attributes:
        loss_N: Surrogate loss, carries the gradient.
        clipped_N: bool, the upper or lower clip of the ratio was active.
        dual_clipped_N: bool, the dual clip was active (negative advantage, ratio above `dual_clip`).
        log_ratio_N: logprob - old_logprob of the token, without gradient; minus its mean is the approximate KL.
    """

    loss_N: Tensor
    clipped_N: Tensor
    dual_clipped_N: Tensor
    log_ratio_N: Tensor


def policy_loss(
    logprob_N: Tensor,
    old_logprob_N: Tensor,
    advantage_N: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    ratio: RatioKind = "token",
    row_N: Tensor | None = None,
) -> PolicyTerms:
    """Clipped surrogate -min(rho A, clip(rho, 1 - low, 1 + high) A), the first term of eq. 3 of HiMAC.

    Args:
        logprob_N: float [N], under the policy that is trained.
        old_logprob_N: [N], under the policy that sampled.
        advantage_N: [N].
        clip_low: Lower clip range.
        clip_high: Upper clip range; above `clip_low` it is DAPO's clip-higher.
        dual_clip: Where A < 0 the loss is at most -dual_clip A (Ye et al. 2020); above 1, `None` is off.
        ratio: rho per `token`, or per `sequence`: the geometric mean of the row's token ratios (GSPO), with
            gradients through each token's own log-probability as in GSPO-token.
        row_N: int64 [N], the row of each token; needed for `sequence` ratios.
    """
    _check_vector(logprob_N)
    _check_same(logprob_N, old_logprob_N)
    _check_same(logprob_N, advantage_N)
    if dual_clip is not None and dual_clip <= 1.0:
        raise ValueError(f"dual_clip must be above 1, got {dual_clip}; use null to switch it off")
    old_logprob_N, advantage_N = old_logprob_N.detach(), advantage_N.detach()
    log_ratio_N = logprob_N - old_logprob_N
    if ratio == "token":
        rho_N = log_ratio_N.exp()
    elif ratio == "sequence":
        if row_N is None:
            raise ValueError("sequence ratios need the row of each token; pass row_N")
        mean_N = _row_mean(log_ratio_N.detach(), row_N)
        rho_N = (logprob_N - logprob_N.detach() + mean_N).clamp(max=_SEQUENCE_LOG_RATIO_MAX).exp()
    else:
        raise ValueError(f"unknown ratio {ratio!r}; use 'token' or 'sequence'")
    plain_N = -advantage_N * rho_N
    bounded_N = -advantage_N * rho_N.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss_N = torch.maximum(plain_N, bounded_N)
    dual_clipped_N = torch.zeros_like(loss_N, dtype=torch.bool)
    if dual_clip is not None:
        ceiling_N = -advantage_N * dual_clip
        negative_N = advantage_N < 0
        dual_clipped_N = (loss_N > ceiling_N) & negative_N
        loss_N = torch.where(negative_N, torch.minimum(ceiling_N, loss_N), loss_N)
    return PolicyTerms(loss_N, (bounded_N > plain_N).detach(), dual_clipped_N.detach(), log_ratio_N.detach())


def value_loss(value: Tensor, target: Tensor, old: Tensor, clip: float | None = None) -> tuple[Tensor, Tensor]:
    """Squared error of the critic, its prediction kept near the one that made the targets (PPO, verl).

    The larger of (V - R)^2 and (clip(V, V_old - clip, V_old + clip) - R)^2, without the factor 1/2.

    Args:
        value: Predictions V, any shape.
        target: Returns R; no gradient reaches them.
        old: Predictions V_old at sampling time.
        clip: Range around `old`; `None` is the plain squared error.

    Returns:
        The loss, shape and dtype of `value`, and a bool tensor: where the clip was active.
    """
    _check_same(value, target)
    _check_same(value, old)
    target, old = target.detach(), old.detach()
    plain = (value - target).square()
    if clip is None:
        return plain, torch.zeros_like(plain, dtype=torch.bool)
    bounded = (value.clamp(old - clip, old + clip) - target).square()
    return torch.maximum(plain, bounded), (bounded > plain).detach()


def row_weights(counts_R: Tensor, mode: AggregationMode, *, horizon: int | None = None) -> Tensor:
    """Weight of every token of a row, so that the aggregated loss is the sum of weight times token loss.

    The weights depend on all rows of the mini-batch; a micro-batch uses its part of them, which makes
    accumulated gradients independent of how the mini-batch is cut.

    Args:
        counts_R: Trained tokens per row, [R], of the whole mini-batch.
        mode: `token-mean` divides the sum by all tokens; `seq-mean-token-sum` averages row sums;
            `seq-mean-token-mean` averages row means; `seq-mean-token-sum-norm` divides the sum by `horizon`
            (Dr. GRPO's constant).
        horizon: The constant of `seq-mean-token-sum-norm`.

    Returns:
        float64 [R], 0 for rows without a trained token.
    """
    assert counts_R.ndim == 1, f"expected counts [R], got shape {tuple(counts_R.shape)}"
    counts_R = counts_R.to(torch.float64)
    filled_R = counts_R > 0
    rows = float(filled_R.sum())
    if not filled_R.any():
        return torch.zeros_like(counts_R)
    match mode:
        case "token-mean":
            weight_R = torch.full_like(counts_R, 1.0 / float(counts_R.sum()))
        case "seq-mean-token-sum":
            weight_R = torch.full_like(counts_R, 1.0 / rows)
        case "seq-mean-token-mean":
            weight_R = 1.0 / (rows * counts_R.clamp(min=1.0))
        case "seq-mean-token-sum-norm":
            if horizon is None or horizon < 1:
                raise ValueError("seq-mean-token-sum-norm needs a positive horizon; set it to the longest row's length")
            weight_R = torch.full_like(counts_R, 1.0 / horizon)
        case _:
            raise ValueError(f"unknown aggregation {mode!r}; use one of {', '.join(get_args(AggregationMode))}")
    return torch.where(filled_R, weight_R, 0.0)


def _row_mean(values_N: Tensor, row_N: Tensor) -> Tensor:
    """Mean over the row of each token, broadcast back to its tokens, [N]."""
    assert row_N.shape == values_N.shape, f"row_N {tuple(row_N.shape)} does not match {tuple(values_N.shape)}"
    if not len(values_N):
        return values_N
    counts_R = torch.bincount(row_N).clamp(min=1)
    sums_R = torch.zeros(len(counts_R), dtype=values_N.dtype, device=values_N.device).index_add_(0, row_N, values_N)
    return (sums_R / counts_R)[row_N]


def _check_vector(values_N: Tensor) -> None:
    assert values_N.ndim == 1, f"expected a vector [N], got shape {tuple(values_N.shape)}"
    assert values_N.is_floating_point(), f"expected a floating dtype, got {values_N.dtype}"


def _check_same(left: Tensor, right: Tensor) -> None:
    assert left.shape == right.shape, f"shapes differ: {tuple(left.shape)} and {tuple(right.shape)}"
    assert left.is_floating_point(), f"expected a floating dtype, got {left.dtype}"
    assert left.dtype == right.dtype, f"dtypes differ: {left.dtype}, {right.dtype}"
