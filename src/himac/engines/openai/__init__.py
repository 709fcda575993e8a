"""Any OpenAI-compatible chat endpoint as an engine, for agents that are evaluated and not trained."""

from himac.engines.openai.engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
