"""The engine on torch and transformers: no other runtime, any device, exact log-probabilities."""

from himac.engines.local.engine import LocalEngine
from himac.engines.local.forward import logits_at, packed_forward
from himac.engines.local.init_model import init_model
from himac.engines.local.loading import load_model

__all__ = ["LocalEngine", "init_model", "load_model", "logits_at", "packed_forward"]
