"""The engine on torch and transformers: no other runtime, any device, exact log-probabilities."""

from himac.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
