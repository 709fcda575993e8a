"""A copy of a policy's weights in memory that another process of this machine maps: how they reach vLLM (on Linux)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from himac.errors import ModelError
from himac.models.policy import Weights

_ALIGN = 64
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in the file, and the checksum it must have there."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    checksum: int


def checksum(tensor: Tensor) -> int:
    """Sum of the words of a tensor's memory, modulo 2^64. Any single bit that differs changes it.

    The order of the elements does not count, so that it takes one pass at the speed of the memory on any device.
    """
    words = tensor.detach().contiguous().flatten().view(_WORDS[tensor.element_size()])
    return int(words.sum(dtype=torch.int64))


class Mirror:
    """Every tensor of a policy, in a file that lies in memory and has no name in any folder.

    vLLM loads whole layers, so a hand-over that leaves tensors out is completed with what was handed over before.

    Args:
        weights: All tensors, also one that is tied to another: vLLM keeps tied ones apart on a CPU.

    Attributes:
        path: Where processes of the same user open it.

    Raises:
        ModelError: there is no room for them.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._places: dict[str, Place] = {}
        size = 0
        for name, tensor in weights.items():
            self._places[name] = Place(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), size, 0)
            size += -(-tensor.numel() * tensor.element_size() // _ALIGN) * _ALIGN
        if size > (free := _free_memory()):  # what is written beyond it would end processes of this machine
            raise ModelError(
                f"handing the weights to vLLM takes {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
                "free some, or set engine.name=local"
            )
        self._number: int | None = os.memfd_create("himac-weights")  # gone with its processes, whatever ends them
        os.ftruncate(self._number, max(size, 1))
        self.path = f"/proc/{os.getpid()}/fd/{self._number}"
        self._bytes = _mapped(self.path, size)
        self.update(weights)

    def update(self, weights: Weights) -> int:
        """Copy tensors or arrays to their places; returns how many.

        Raises:
            ModelError: a name or shape is none of the model's.
        """
        count = 0
        for name, value in weights.items() if isinstance(weights, Mapping) else weights:
            place = self._places.get(name)
            source = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            if place is None or place.shape != tuple(source.shape):
                told = "is none of the model's" if place is None else f"has another shape than {place.shape}"
                raise ModelError(f"Tensor {name!r} {told}; send the weights of the same architecture.")
            source = source.detach().to(getattr(torch, place.dtype))
            _tensor(self._bytes, place).copy_(source)
            self._places[name] = Place(name, place.dtype, place.shape, place.offset, checksum(source))
            count += 1
        return count

    def places(self) -> list[list[Any]]:
        """What `read` needs, as plain values."""
        return [[one.name, one.dtype, list(one.shape), one.offset, one.checksum] for one in self._places.values()]

    def close(self) -> None:
        """Give the file up; what has mapped it keeps it until its end."""
        if self._number is not None:
            os.close(self._number)
            self._number = None


def read(path: str, places: list[list[Any]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a file by their names, each checked before it is given.

    Raises:
        ValueError: a tensor's checksum is another one.
    """
    mapped = _mapped(path, Path(path).stat().st_size)
    for name, dtype, shape, offset, expected in places:
        tensor = _tensor(mapped, Place(name, dtype, tuple(shape), offset, expected))
        if checksum(tensor) != expected:
            raise ValueError(f"the checksum of {name} differs from the learner's")
        yield name, tensor


def _free_memory() -> int:
    """Bytes that can be had without swapping."""
    told = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    return int(told[1]) * 1024 if told else 0


def _mapped(path: str, size: int) -> Tensor:
    return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)


def _tensor(mapped: Tensor, place: Place) -> Tensor:
    dtype = cast(torch.dtype, getattr(torch, place.dtype))
    size = int(np.prod(place.shape, dtype=np.int64)) * dtype.itemsize
    return mapped[place.offset : place.offset + size].view(dtype).view(place.shape)
