"""Hand new weights to a model by Hugging Face name; find those that are no numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from himac.errors import ModelError


@torch.no_grad()
def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no element is infinite or NaN. The sums tell, in one pass and one transfer."""
    sums = [tensor.detach().sum(dtype=torch.float32) for tensor in tensors if tensor.is_floating_point()]
    return bool(torch.stack(sums).isfinite().all()) if sums else True


def not_finite(model: Any) -> list[str]:
    """Names of the parameters that hold an infinite number or NaN."""
    tensors = dict(model.named_parameters())
    return [] if all_finite(tensors.values()) else [name for name, one in tensors.items() if not all_finite([one])]


def copy_weights(model: Any, weights: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> int:
    """Copy tensors or numpy arrays into the model's parameters and buffers of the same name.

    Returns:
        Number of tensors copied; those that already are the model's own memory are skipped.

    Raises:
        ModelError: A name or shape does not belong to the model.
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    own.update(model.named_buffers(remove_duplicate=False))
    pairs = weights.items() if isinstance(weights, Mapping) else weights
    copied = 0
    with torch.no_grad():
        for name, value in pairs:
            target = own.get(name)
            if target is None:
                raise ModelError(f"The model has no tensor {name!r}; send the weights of the same architecture.")
            source = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            if source.shape != target.shape:
                raise ModelError(
                    f"Tensor {name!r} has shape {tuple(source.shape)} instead of {tuple(target.shape)}; "
                    "send the weights of the same architecture."
                )
            if source.device == target.device and source.data_ptr() == target.data_ptr():
                continue
            target.copy_(source)
            copied += 1
    return copied
