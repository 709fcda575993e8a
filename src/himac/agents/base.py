"""What an agent is: prompts as token ids, and total parsers of the replies. Agents hold no state and no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from himac.agents.chat import ChatFormat
from himac.agents.recorder import SegmentRecorder
from himac.config import AgentConfig
from himac.types import Demonstration, PromptTexts, Role, Row


class AgentBase(ABC):
    """Holds the texts, the chat format and the limits."""

    def __init__(self, tokenizer: Any, texts: PromptTexts, config: AgentConfig) -> None:
        self.tokenizer = tokenizer
        self.texts = texts
        self.config = config
        self.chat = ChatFormat(tokenizer)

    @abstractmethod
    def demonstrated(self, demo: Demonstration) -> list[SegmentRecorder]:
        """A demonstration in this agent's own format: contexts and the replies to imitate."""

    def reply_limit(self, role: Role) -> tuple[str, int] | None:
        """Most tokens of a reply when it is sampled, behind the setting that says so; `None` without a limit."""
        return None

    def demo_rows(self, demo: Demonstration, context_weight: float = 0.0) -> list[Row]:
        """Training rows that imitate a demonstration.

        Args:
            context_weight: Weight of predicting prompts and observations, beside 1 for replies.
        """
        return [context.demo_row(demo.task.id, context_weight) for context in self.demonstrated(demo)]
