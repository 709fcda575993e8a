"""The policy: what is trained. Engines sample with its weights and get new ones from it in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from himac.config import ModelConfig

Weights = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Tensors by Hugging Face names; a pair at a time, so that they need not all be in one place."""


class WeightSync(Protocol):
    """Takes the weights of a policy: the one way from a learner to what samples.

    Attributes:
        version: `Policy.version` of the weights that are sampled with; 0 where nobody counts.
    """

    version: int

    def load_weights(self, weights: Weights, version: int) -> None:
        """Take new weights; what is sampled from now on is theirs. Those that are left out stay as they are."""
        ...


@dataclass(slots=True, eq=False)
class Policy:
    """A model with its tokenizer.

    Attributes:
        model: Hugging Face causal language model.
        version: 1 for the weights it was loaded with, one more after each update.
    """

    model: Any
    tokenizer: Any = None
    version: int = 1

    @classmethod
    def load(cls, path: str | Path, settings: ModelConfig) -> Policy:
        """The policy in a model directory; see `loading.load_model`."""
        from himac.models.loading import load_model

        return cls(*load_model(path, settings.dtype, settings.device))

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end a reply by the model's own generation configuration."""
        ends = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        return [ends] if isinstance(ends, int) else list(ends or ())

    def hand_to(self, sampler: WeightSync) -> None:
        """Give the present weights to what samples."""
        sampler.load_weights(self.model.state_dict(), self.version)
