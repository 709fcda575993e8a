# ruff: noqa: N803, N806, N815
"""Log-probabilities of the trained tokens of a micro-batch. Shape suffixes: M trained tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from himac.models.forward import logits_at, packed_forward
from himac.training.credit import hellinger
from himac.training.optim import has_amx
from himac.training.packing import MicroBatch

Precision = Literal["fp32", "bf16", "auto"]
EntropyKind = Literal["none", "value", "grad"]

# Above this many logits the rest is done in pieces that are computed again in the backward pass.
_LOGITS_AT_ONCE = 1 << 27


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What the model says about the trained tokens; all float32 [M] but `best_M`, bool [M].

    Attributes:
        logprob_M: Log-probability of the token.
        entropy_M: Entropy of the distribution it was drawn from, in nats.
        best_M: The token is the most likely one.
    """

    logprob_M: Tensor
    entropy_M: Tensor
    best_M: Tensor


def score_tokens(
    model: Any,
    batch: MicroBatch,
    hidden_Nd: Tensor | None = None,
    *,
    temperature: float = 1.0,
    entropy: EntropyKind = "value",
    chunk: int | None = None,
) -> TokenScores:
    """Run the packed rows through the model and score their trained tokens.

    Args:
        model: Causal language model.
        batch: Packed rows.
        hidden_Nd: What `encode` gave, when it has been called already.
        temperature: Divides the logits.
        entropy: Compute its `value`, also let its `grad` flow, or leave it out (`none`: all zeros).
        chunk: Tokens whose logits exist at once; `None`: a number that bounds the memory.
    """
    if hidden_Nd is None:
        hidden_Nd = encode(model, batch)
    piece = chunk or _piece(model)
    if len(batch.predict_M) <= piece:
        return TokenScores(*_score(model, hidden_Nd, batch.predict_M, batch.target_M, temperature, entropy))
    pieces = [
        checkpoint(_score, model, hidden_Nd, index, target, temperature, entropy, use_reentrant=False)
        for index, target in zip(torch.split(batch.predict_M, piece), torch.split(batch.target_M, piece), strict=True)
    ]
    return TokenScores(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def encode(model: Any, batch: MicroBatch) -> Tensor:
    """Last hidden states of the packed rows, [N, d]."""
    return packed_forward(model, batch.input_ids_N, list(batch.lengths), batch.pictures)


@torch.no_grad()
def deviation(
    model: Any,
    as_reference: Callable[[], AbstractContextManager[Any]],
    batch: MicroBatch,
    *,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """How far a model is from its reference where the trained tokens were drawn, both float32 [M].

    Args:
        model: Causal language model.
        as_reference: The reference is there inside; it may be the same model without its adapter.
        batch: Packed rows.
        temperature: Divides the logits.
        chunk: See `score_tokens`.

    Returns:
        Hellinger distances of their distributions, and the entropy of the first model's in nats.
    """

    def logprobs(one: Any, states_Nd: Tensor, index_M: Tensor) -> Tensor:
        return torch.log_softmax(logits_at(one, states_Nd, index_M).float() / temperature, dim=-1)

    states_Nd = encode(model, batch)
    with as_reference() as reference:
        reference_Nd = encode(reference, batch)
    distances, entropies = list[Tensor](), list[Tensor]()
    for index_M in torch.split(batch.predict_M, chunk or _piece(model)):
        policy_MV = logprobs(model, states_Nd, index_M)
        with as_reference() as reference:
            reference_MV = logprobs(reference, reference_Nd, index_M)
        distances.append(hellinger(policy_MV, reference_MV))
        entropies.append(_entropy(policy_MV))
    return torch.cat(distances), torch.cat(entropies)


def logits_at_once(vocabulary: int) -> int:
    """Tokens whose logits fit into half a gigabyte."""
    return max(1, _LOGITS_AT_ONCE // vocabulary)


def _piece(model: Any) -> int:
    return logits_at_once(int(model.config.get_text_config().vocab_size))


def _entropy(logprobs_MV: Tensor) -> Tensor:
    return -(logprobs_MV.exp() * logprobs_MV.clamp(min=torch.finfo(torch.float32).min)).sum(-1)


def _score(
    model: Any, hidden_Nd: Tensor, index_M: Tensor, target_M: Tensor, temperature: float, entropy: EntropyKind
) -> tuple[Tensor, Tensor, Tensor]:
    logits_MV = logits_at(model, hidden_Nd, index_M).float()
    if temperature != 1.0:
        logits_MV = logits_MV / temperature
    logprobs_MV = torch.log_softmax(logits_MV, dim=-1)
    logprob_M = logprobs_MV.gather(-1, target_M[:, None]).squeeze(-1)
    if entropy == "none":
        entropy_M = torch.zeros_like(logprob_M, requires_grad=False)
    else:
        entropy_M = _entropy(logprobs_MV if entropy == "grad" else logprobs_MV.detach())
    return logprob_M, entropy_M, logits_MV.detach().argmax(-1) == target_M


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Context in which matrix products run in bfloat16, or a context that does nothing.

    `auto` uses bfloat16 where the hardware has it (CUDA with bfloat16, CPUs with AMX); `bf16` insists on it.
    """
    return torch.autocast(device.type, torch.bfloat16) if runs_bf16(precision, device.type) else nullcontext()


def runs_bf16(precision: Precision, device: str) -> bool:
    """Whether matrix products of an update on this kind of device run in bfloat16."""
    if precision != "auto":
        return precision == "bf16"
    return torch.cuda.is_bf16_supported() if device == "cuda" else device == "cpu" and has_amx()
