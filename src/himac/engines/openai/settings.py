"""The settings of a chat endpoint."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from himac.config import Capabilities, EngineConfig
from himac.settings import AtOnce, Context, Positive, Seconds

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class OpenAIConfig(EngineConfig):
    """An OpenAI-compatible chat endpoint, for evaluation only.

    Its key is read from the environment variable `key_variable` and never stored.
    """

    can = Capabilities(abort=True)
    factory = "himac.engines.openai.engine:OpenAIEngine"
    name: Literal["openai"] = "openai"
    model: str = ""
    base_url: str = ""
    key_variable: str = "OPENAI_API_KEY"
    concurrency: AtOnce = 16
    timeout_s: Seconds = 120.0
    max_tries: Positive = 6
    max_wait_s: Seconds = 60.0
    max_context: Context = 65536
    logprobs: bool = False
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: tuple[str, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict)
    price_in: Annotated[float, Field(ge=0)] | None = None
    price_out: Annotated[float, Field(ge=0)] | None = None

    @property
    def served(self) -> str:
        return self.model

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float | None:
        if self.price_in is None or self.price_out is None:
            return None
        return (prompt_tokens * self.price_in + reply_tokens * self.price_out) / 1e6

    @model_validator(mode="after")
    def _coherent(self) -> OpenAIConfig:
        address = urlsplit(self.base_url)
        if address.username or address.password:
            raise ValueError("base_url must not hold a key or password; give the key in the variable of key_variable")
        if address.query or address.fragment:
            raise ValueError("base_url must not have a query, which may hold a key; end it before the ? or #")
        if not _VARIABLE.fullmatch(self.key_variable):
            raise ValueError("key_variable is the name of an environment variable, such as OPENAI_API_KEY, not the key")
        if self.base_url and (address.scheme not in ("http", "https") or not address.hostname):
            raise ValueError("base_url is an address such as http://localhost:8000/v1")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("give both price_in and price_out, or neither")
        return self
