"""Differentiable forward passes over packed rows, for any architecture.

`packed_forward` runs without padding where the architecture takes our attention function and falls back to a padded
batch with equal results where it does not. Which of the two holds is measured once per model, on five tokens.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from himac.errors import ConfigError, ModelError
from himac.models.attention import PackedPlan, enable_attention, forward_with_plan, restarting_positions
from himac.models.vision import insert, packed_pictures, processor, rope_positions, sees_pictures
from himac.scene import Image, Placed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Support:
    """What the probe found out about a model.

    Attributes:
        packed: Packed rows give the same hidden states as separate forwards.
        kv_heads, head_dim: Shape of the keys of every layer; 0 when layers differ (no slot cache then).
        layers: Number of attention layers.
    """

    packed: bool
    layers: int = 0
    kv_heads: int = 0
    head_dim: int = 0

    @property
    def slots(self) -> bool:
        """Whether the slot cache can serve this model."""
        return self.packed and self.kv_heads > 0


_SUPPORT: weakref.WeakKeyDictionary[Any, Support] = weakref.WeakKeyDictionary()


def packed_forward(
    model: Any,
    input_ids_N: Tensor,  # noqa: N803
    lengths_R: Sequence[int],  # noqa: N803
    pictures_R: Sequence[Sequence[Placed]] = (),  # noqa: N803
) -> Tensor:
    """Last hidden states of rows laid end to end, each encoded as if alone.

    Args:
        model: A Hugging Face causal language model.
        input_ids_N: int [N], the rows' tokens one after another.
        lengths_R: Tokens of each row (at least 1); they sum to N.
        pictures_R: Pictures of each row, placed in the row's own positions; none by default.

    Returns:
        Hidden states [N, d], differentiable.
    """
    lengths = [int(length) for length in lengths_R]
    if sum(lengths) != input_ids_N.shape[0] or min(lengths, default=1) < 1:
        raise ValueError(f"row lengths must be positive and sum to {input_ids_N.shape[0]} tokens, got {lengths}")
    found = support(model)
    if any(pictures_R):
        return _with_pictures(model, input_ids_N.long(), lengths, pictures_R)
    if found.packed:
        positions = restarting_positions(lengths, input_ids_N.device)
        return forward_with_plan(model, input_ids_N.long(), positions, PackedPlan(lengths))
    return _padded_forward(model, input_ids_N.long(), lengths)


def logits_at(model: Any, hidden: Tensor, index: Tensor) -> Tensor:
    """Logits [M, vocabulary] at positions `index` [M] of hidden states [N, d]; nothing else is projected."""
    return project(model, hidden.index_select(0, index))


def project(model: Any, hidden: Tensor) -> Tensor:
    """Logits of hidden states [..., d], with the scalings some architectures apply after the output layer."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    config = model.config.get_text_config()
    if (scale := getattr(config, "logit_scale", None)) is not None:  # Cohere
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:  # Gemma 2
        logits = torch.tanh(logits / cap) * cap
    return logits


def support(model: Any) -> Support:
    """Measure (once per model) what the architecture supports.

    Raises:
        ModelError: Logits are not the output layer applied to the last hidden states, or pictures do not give what
            the model's own forward gives.
    """
    found = _SUPPORT.get(model)
    if found is None:
        with evaluating(model), torch.no_grad():
            found = _probe(model)
            if sees_pictures(model):
                _probe_pictures(model, found)
        _SUPPORT[model] = found
        if not found.packed:
            logger.warning(
                "%s does not take a custom attention function; rows are padded and contexts re-encoded (slower)",
                type(model).__name__,
            )
    return found


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode for a while; free when the model is in it already."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


@contextmanager
def recomputed(model: Any, every: int) -> Iterator[None]:
    """Every n-th decoder layer keeps its input alone and is computed again in the backward pass; 0: none does.

    Raises:
        ConfigError: The architecture has no layers that can.
    """
    layers: list[Any] = [one for one in model.get_decoder().modules() if isinstance(one, GradientCheckpointingLayer)]
    if every and not layers:
        raise ConfigError(
            f"{type(model).__name__} has no layers that can be computed again; set "
            "train.learner.gradient_checkpointing=0"
        )
    chosen = layers[::every] if every else []
    for layer in chosen:
        # The flag of the layer itself: what is inside stays in evaluation mode, without dropout.
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.gradient_checkpointing = layer.training = True
    try:
        yield
    finally:
        for layer in chosen:
            layer.gradient_checkpointing = layer.training = False


class _ProbePlan(PackedPlan):
    """A packed plan that notes what each layer asked for."""

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__(lengths)
        self.shapes: dict[int, tuple[int, int, int]] = {}
        self.windows: set[int | None] = set()

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, dropout: float
    ) -> Tensor:
        self.shapes[layer] = (key.shape[1], key.shape[3], value.shape[3])
        self.windows.add(window)
        return super().attend(layer, query, key, value, scaling, window, dropout)


def _probe(model: Any) -> Support:
    device = model.get_input_embeddings().weight.device
    rows = [[1, 2, 3], [2, 1]]
    config = model.config.get_text_config()
    ids = [torch.tensor(row, device=device) % config.vocab_size for row in rows]
    plain = [model.get_decoder()(input_ids=row.unsqueeze(0), use_cache=False)[0][0] for row in ids]
    logits = model(input_ids=ids[0].unsqueeze(0), use_cache=False).logits[0]
    if not _close(project(model, plain[0]), logits):
        raise ModelError(
            f"{type(model).__name__} changes its logits after the output layer in a way that is not supported; "
            "use another architecture."
        )
    if not enable_attention(model):
        return Support(packed=False)
    lengths = [len(row) for row in rows]
    plan = _ProbePlan(lengths)
    try:
        packed = forward_with_plan(model, torch.cat(ids), restarting_positions(lengths, device), plan)
    except (NotImplementedError, TypeError, AttributeError):
        return _without_attention(model)
    layers = int(getattr(config, "num_hidden_layers", 0))
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if sorted(plan.shapes) != list(range(layers)) or (sliding and plan.windows == {None}):
        return _without_attention(model)
    if not _close(packed, torch.cat(plain)):
        return _without_attention(model)
    shapes = set(plan.shapes.values())
    kv_heads, key_dim, value_dim = next(iter(shapes))
    if len(shapes) > 1 or key_dim != value_dim:
        return Support(packed=True, layers=layers)
    return Support(packed=True, layers=layers, kv_heads=kv_heads, head_dim=key_dim)


def _probe_pictures(model: Any, found: Support) -> None:
    """Compare a sequence of two words around a picture with the model's own forward."""
    device = model.get_input_embeddings().weight.device
    picture = Image(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    pixels, grid = processor(model).pixels(picture)
    count = processor(model).count(picture)
    ids = torch.tensor([1, *[model.config.image_token_id] * count, 2], device=device)
    kinds = (ids == model.config.image_token_id).long().unsqueeze(0)
    plain = model(
        input_ids=ids.unsqueeze(0),
        pixel_values=torch.from_numpy(pixels).to(device),
        image_grid_thw=torch.tensor([grid], device=device),
        mm_token_type_ids=kinds,
        use_cache=False,
    ).logits[0]
    placed = [Placed(1, 1 + count, picture)]
    if not found.packed or not _close(project(model, _with_pictures(model, ids, [len(ids)], [placed])), plain):
        raise ModelError(
            f"{type(model).__name__} puts pictures into its decoder in a way that is not supported; use a model of the "
            "Qwen2.5-VL or Qwen3-VL architecture."
        )


def _without_attention(model: Any) -> Support:
    model.set_attn_implementation("sdpa" if getattr(model, "_supports_sdpa", False) else "eager")
    return Support(packed=False)


def _close(left: Tensor, right: Tensor) -> bool:
    tolerance = 1e-3 if left.dtype == torch.float32 else 5e-2
    scale = right.float().abs().max().clamp_min(1e-6)
    return bool((left.float() - right.float()).abs().max() <= tolerance * scale)


def _with_pictures(
    model: Any,
    input_ids_N: Tensor,  # noqa: N803
    lengths: list[int],
    pictures_R: Sequence[Sequence[Placed]],  # noqa: N803
) -> Tensor:
    rope = [rope_positions(model, length, row) for length, row in zip(lengths, pictures_R, strict=True)]
    positions = torch.from_numpy(np.concatenate(rope, axis=1)).to(input_ids_N.device)
    inputs = insert(model, input_ids_N, packed_pictures(pictures_R, lengths))
    return forward_with_plan(model, input_ids_N, positions, PackedPlan(lengths), inputs)


def _padded_forward(model: Any, input_ids_N: Tensor, lengths: list[int]) -> Tensor:  # noqa: N803
    rows = torch.split(input_ids_N, lengths)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    position = torch.arange(padded.shape[1], device=padded.device)
    mask = position[None, :] < torch.tensor(lengths, device=padded.device)[:, None]
    hidden: Tensor = model.get_decoder()(input_ids=padded, attention_mask=mask.long(), use_cache=False)[0]
    return hidden[mask]
