"""The settings of the engine in this process."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from himac.config import Capabilities, EngineConfig
from himac.engines.openai.settings import OpenAIConfig
from himac.settings import Positive


class LocalConfig(EngineConfig):
    """The model of `model.path` in this process."""

    can = Capabilities(exact=True, logprobs=True, weights=True, images=True, abort=True)
    factory = "himac.engines.local.engine:LocalEngine"
    name: Literal["local"] = "local"
    cache_tokens: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _endpoint_left_out(cls, tree: Any) -> Any:
        """Runs saved when there was one class for all engines hold the keys of an endpoint at their defaults."""
        unset = OpenAIConfig().model_dump(mode="json", exclude={"name"}).items()
        return dict(pair for pair in tree.items() if pair not in unset) if isinstance(tree, dict) else tree
