"""HiMAC: hierarchical macro-micro reinforcement learning for long-horizon language-model agents."""

__version__ = "0.1.0"
