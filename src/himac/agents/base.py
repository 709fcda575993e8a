"""What an agent is: prompts as token ids, and total parsers of the replies. Agents hold no state and no model."""

from __future__ import annotations

from typing import Any, Protocol

from himac.agents.chat import ChatFormat
from himac.agents.parsing import Reply
from himac.config import AgentConfig
from himac.types import Demonstration, PromptTexts, Row


class Agent(Protocol):
    """Shared by the hierarchical and the flat agent."""

    chat: ChatFormat

    def demo_rows(self, demo: Demonstration) -> list[Row]:
        """Training rows that imitate a demonstration in this agent's own format."""
        ...


class AgentBase:
    """Holds the texts, the chat format and the limits."""

    def __init__(self, tokenizer: Any, texts: PromptTexts, config: AgentConfig) -> None:
        self.tokenizer = tokenizer
        self.texts = texts
        self.config = config
        self.chat = ChatFormat(tokenizer)


__all__ = ["Agent", "AgentBase", "Reply"]
