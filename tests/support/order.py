"""What shows any change of order: a model whose numbers depend on the batch, and a benchmark of slow environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from torch import Tensor, nn

from himac.types import PromptTexts
from support.learning import CarelessColours
from support.toy import Hesitant


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


class Wordy(CarelessColours):
    """Prompts with more than the 16 tokens from which on sessions share what is encoded."""

    texts = PromptTexts(planner="Plan. " * 12, executor="Act. Goal. " * 8, flat="Act. " * 16)

    def __init__(self) -> None:
        super().__init__(12, 12)

    def make_env(self) -> gymnasium.Env[str, str]:
        return Hesitant()
