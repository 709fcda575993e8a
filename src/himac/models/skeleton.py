"""A model without its weights, on the device `meta`: what it would take, before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, Qwen2Config

from himac.config import InitConfig, ModelConfig
from himac.models.adapter import add_adapter
from himac.models.attention import enable_attention, forward_with_plan
from himac.models.folder import base_of, is_adapter
from himac.models.forward import recomputed
from himac.models.loading import DTYPES, load_config, reads_pictures


def skeleton(settings: ModelConfig, init: InitConfig, freeze_vision: bool = True) -> Any:
    """The model that is trained, its adapter included; the vision tower of one from scratch is left out.

    Raises:
        ModelError: `model.path` is no directory of a model.
    """
    if settings.path:
        folder = Path(settings.path)
        shape = load_config(base_of(folder) if is_adapter(folder) else folder)
    else:
        shape = _from_scratch(init)
    auto: Any = AutoModelForImageTextToText if reads_pictures(shape) else AutoModelForCausalLM
    with torch.device("meta"):
        model: Any = auto.from_config(shape, dtype=DTYPES[settings.dtype])
        model.tie_weights()
        if settings.lora is not None:
            add_adapter(model, settings.lora, 0)
        elif reads_pictures(shape) and freeze_vision:
            model.get_encoder(modality="image").requires_grad_(False)
    return model.eval()


def kept_bytes(model: Any, tokens: int, every: int, autocast: bool = False) -> int:
    """What the decoder's forward pass over so many tokens keeps for the backward pass.

    Args:
        every: Which layers are computed again; see `forward.recomputed`.
        autocast: Matrix products are in bfloat16.
    """
    own = {_storage(one) for one in model.parameters()}
    seen = dict[int, int]()
    alive = list[Tensor]()  # a storage that has gone would give its number to another

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own and tensor.is_meta:
            alive.append(tensor)
            seen[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    enable_attention(model)
    ids = torch.zeros(tokens, dtype=torch.int64, device="meta")
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        recomputed(model, every),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        # With a mask transformers does not look for rows in the positions, which have no values here.
        inputs = {"input_ids": ids.unsqueeze(0), "attention_mask": torch.ones_like(ids).unsqueeze(0)}
        hidden = forward_with_plan(model, ids, torch.zeros_like(ids), _Plan(), inputs)
    return sum(seen.values()) + hidden.untyped_storage().nbytes()


class _Plan:
    """Attention of which inputs and outputs are kept, as of every kernel that does not store the scores."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, dropout: float
    ) -> Tensor:
        out: Tensor = _Kernel.apply(query, key, value)  # type: ignore[no-untyped-call]
        # The rows of a batch are put together, in a tensor of their own.
        return torch.cat([out[0].transpose(0, 1), out[0, :, :0].transpose(0, 1)]).unsqueeze(0)


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _from_scratch(init: InitConfig) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=init.vocab_size,
        hidden_size=init.hidden_size,
        intermediate_size=init.intermediate or -(-init.hidden_size * 8 // (3 * 32)) * 32,
        num_hidden_layers=init.layers,
        num_attention_heads=init.heads,
        num_key_value_heads=init.kv_heads,
        max_position_embeddings=init.max_position,
        tie_word_embeddings=True,
    )
