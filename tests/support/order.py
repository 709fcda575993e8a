"""A model whose numbers depend on what else is computed in the same pass, as those of a fast matrix product do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class OrderSensitive(nn.Linear):
    """Logits that differ by a millionth from row to row, so that a token's place in a batch shows in its probability.

    AVX-512 kernels do this by themselves, in the last bits and for some shapes only.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        logits = super().forward(hidden)
        place = torch.arange(logits.shape[-2], dtype=logits.dtype, device=logits.device)
        return logits * (1 + 1e-6 * (1 + place)[:, None])


def order_sensitive(load: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """`load_model`, with an output layer of that kind."""

    def loaded(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        model, tokenizer = load(*args, **kwargs)
        model.get_output_embeddings().__class__ = OrderSensitive
        return model, tokenizer

    return loaded
