"""One attention function, "himac", for packed training rows and for the engine's slot cache.

A forward pass over flattened tokens [1, N] carries a plan that knows which tokens may see which. Without a plan the
function is transformers' own SDPA, so a model with this implementation behaves as usual everywhere else.

Shape suffixes: N flattened tokens, R rows, H query heads, K key/value heads, D head width.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, unflatten
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "himac"
_PLAN_ARGUMENT = "himac_plan"
_PLAN: contextvars.ContextVar[AttentionPlan | None] = contextvars.ContextVar("himac_plan", default=None)
_HANDLED_LAYER_TYPES = {"full_attention", "sliding_attention"}
_UNHANDLED_ARGUMENTS = ("softcap", "s_aux", "position_bias", "sinks")


class AttentionPlan(Protocol):
    """Decides what each flattened token attends to."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, dropout: float
    ) -> Tensor:
        """Map query [1, H, N, D], key and value [1, K, N, D] to [1, N, H, D].

        Args:
            window: Number of newest positions a token sees, itself included, or `None` for all.
        """
        ...


class PackedPlan:
    """Rows laid end to end, causal inside each row and blind to the others.

    Args:
        lengths: Tokens of each row, in order.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = [int(length) for length in lengths]
        # Adjacent rows of one length share a call: (first token, number of rows, length).
        self.runs: list[tuple[int, int, int]] = []
        start = 0
        for length, group in itertools.groupby(self.lengths):
            count = sum(1 for _ in group)
            self.runs.append((start, count, length))
            start += count * length
        self._cu_seqlens: Tensor | None = None

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, dropout: float
    ) -> Tensor:
        """Attend inside each row; see `AttentionPlan.attend`."""
        if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and not dropout:
            return self._attend_varlen(query, key, value, scaling, window)
        gqa = query.shape[1] != key.shape[1]
        outputs = []
        # One split a tensor: its gradient is one concatenation, where slices would each fill a whole tensor with zeros.
        sizes = [count * length for _, count, length in self.runs]
        parts = zip(*(torch.split(x[0], sizes, dim=1) for x in (query, key, value)), strict=True)
        for (_, count, length), run in zip(self.runs, parts, strict=True):
            q, k, v = (unflatten(x, 1, (count, length)).transpose(0, 1) for x in run)
            mask = None if window is None or window >= length else banded_mask(length, window, query.device)
            out = scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=gqa
            )
            outputs.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(outputs).unsqueeze(0)

    def _attend_varlen(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        if self._cu_seqlens is None or self._cu_seqlens.device != query.device:
            ends = list(itertools.accumulate(self.lengths, initial=0))
            self._cu_seqlens = torch.tensor(ends, dtype=torch.int32, device=query.device)
        longest = max(self.lengths)
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
        out = varlen_attn(
            q,
            k,
            v,
            self._cu_seqlens,
            self._cu_seqlens,
            longest,
            longest,
            scale=scaling,
            window_size=(-1 if window is None else window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        assert isinstance(out, Tensor)
        return out.unsqueeze(0)


def banded_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Boolean [length, length], true where a query sees a key: causal, the newest `window` positions."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window)


def himac_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function registered with transformers; returns ([B, T, H, D], None)."""
    # The argument survives gradient checkpointing, which calls the layer again outside `active_plan`; the context
    # variable serves layers that do not hand unknown arguments on.
    plan: AttentionPlan | None = kwargs.pop(_PLAN_ARGUMENT, None) or _PLAN.get()
    if plan is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out
    if any(kwargs.get(name) is not None for name in _UNHANDLED_ARGUMENTS):
        raise NotImplementedError("attention with soft caps, sinks or position biases needs the dense forward")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return plan.attend(layer, query, key, value, scale, kwargs.get("sliding_window"), dropout), None


def himac_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """No mask while a plan is active (the plan knows), otherwise transformers' SDPA mask."""
    if _PLAN.get() is not None:
        return None
    mask: Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


AttentionInterface.register(NAME, himac_attention)
AttentionMaskInterface.register(NAME, himac_mask)


@contextmanager
def active_plan(plan: AttentionPlan) -> Iterator[None]:
    """Make `plan` decide the attention of the forward passes inside."""
    token = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(token)


def enable_attention(model: Any) -> bool:
    """Give the model our attention function if its architecture goes through transformers' attention interface."""
    config = model.config.get_text_config()
    if getattr(config, "_attn_implementation", None) == NAME:
        return True
    layer_types = set(getattr(config, "layer_types", None) or ())
    if not getattr(model, "_supports_attention_backend", False) or layer_types - _HANDLED_LAYER_TYPES:
        return False
    # Without a plan the function is SDPA: a model that SDPA computes wrongly (soft caps of Gemma 2) keeps its own.
    if not getattr(config, "is_causal", True) or not getattr(model, "_supports_sdpa", False):
        return False
    # A vision tower keeps its own attention: it has no plan and is not causal.
    model.set_attn_implementation(NAME if config is model.config else {"text_config": NAME})
    return bool(config._attn_implementation == NAME)


def forward_with_plan(
    model: Any,
    input_ids_N: Tensor,  # noqa: N803
    position_ids: Tensor,
    plan: AttentionPlan,
    inputs: Mapping[str, Any] | None = None,
) -> Tensor:
    """Last hidden states [N, d] of flattened tokens under `plan`.

    Args:
        position_ids: [N], or [3, N] where pictures have rotary positions of three dimensions.
        inputs: What the decoder takes instead of the token ids; see `vision.insert`.
    """
    with active_plan(plan):
        out = model.get_decoder()(
            position_ids=position_ids.unsqueeze(-2),
            use_cache=False,
            **(inputs or {"input_ids": input_ids_N.unsqueeze(0)}),
            **{_PLAN_ARGUMENT: plan},
        )
    hidden: Tensor = out[0][0]
    return hidden


def restarting_positions(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Position ids [N] that count from 0 in each row."""
    parts = [np.arange(length) for length in lengths] or [np.zeros(0, dtype=np.int64)]
    return torch.from_numpy(np.concatenate(parts)).to(device)
