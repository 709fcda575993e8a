"""The policy: what is trained. Engines sample with its weights and get new ones from it in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from himac.config import LoraConfig, ModelConfig
from himac.models.folder import base_of, is_adapter

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
        """The policy in a model directory, see `loading.load_model`, or an adapter on its base (`model.path`)."""
        from himac.models.loading import load_model

        folder = Path(path)
        if not is_adapter(folder):
            return cls(*load_model(path, settings.dtype, settings.device))
        named = "" if settings.path == str(path) else settings.path
        policy = cls(*load_model(base_of(folder, named), settings.dtype, settings.device))
        from himac.models.adapter import load_adapter

        load_adapter(policy.model, folder)
        return policy

    def adapt(self, settings: LoraConfig, seed: int) -> None:
        """Train an adapter in place of the weights: the one it was loaded with, or a new one."""
        from himac.models.adapter import add_adapter, has_adapter

        if not has_adapter(self.model):
            add_adapter(self.model, settings, seed)

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end a reply by the model's own generation configuration."""
        ends = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        return [ends] if isinstance(ends, int) else list(ends or ())

    def hand_to(self, sampler: WeightSync) -> None:
        """Give the present weights to what samples; one that has this very model needs to know the version only."""
        from himac.models.adapter import has_adapter, merged_weights

        weights: Weights = self.model.state_dict()
        if getattr(sampler, "model", None) is self.model:
            weights = ()
        elif has_adapter(self.model):
            weights = merged_weights(self.model)
        sampler.load_weights(weights, self.version)
