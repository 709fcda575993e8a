"""What memory there is on a device, and how its end shows."""

from __future__ import annotations

import torch

from himac.machine import memory_bytes

_SHARE = 0.9  # of what is free on an accelerator; the rest is for what a forward pass needs
_CPU_SHARE = 0.5  # of all there is, so that it is the same in every run on a machine
_WORDS = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory", "out of memory")


def free_bytes(device: torch.device) -> int:
    """How much a cache may take."""
    if device.type != "cuda":
        return int(_CPU_SHARE * memory_bytes())
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + unused))


def ran_out(error: BaseException) -> bool:
    """Whether Python, torch or its allocator on the CPU found no memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
    )
