"""HiMAC: hierarchical macro-micro reinforcement learning for long-horizon language-model agents.

`train`, `load` and `evaluate` are imported when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from himac.api import Agent, evaluate, load, train

__version__ = "0.1.0"
__all__ = ["Agent", "__version__", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from himac import api

        return getattr(api, name)
    raise AttributeError(f"module 'himac' has no attribute '{name}'")
