"""Pictures for the decoder of a vision-language model: embeddings, their places, and rotary positions.

The model's own functions do the work (`get_image_features`, `get_rope_index`, deep-stack inputs of its decoder), so any
architecture with patch grids (Qwen2-VL, Qwen2.5-VL, Qwen3-VL and their kin) is served alike.

Shape suffixes: N flattened tokens, T tokens of one sequence, d hidden size, n tokens of one picture.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from himac.errors import ModelError
from himac.scene import Image, Placed

PROCESSOR = "picture_processor"
"""Attribute under which a loaded vision-language model keeps its `ImageProcessor`."""

_PATCHES_AT_ONCE = 1 << 14
_KEPT_BYTES = 1 << 30


class ImageProcessor:
    """A Hugging Face image processor with patch grids, asked for one picture at a time."""

    def __init__(self, image_processor: Any) -> None:
        self.image_processor = image_processor
        self._grids: dict[tuple[int, int], tuple[int, int, int]] = {}

    def pixels(self, picture: Image) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
        """Patches float32 [p, features] and their grid (time, height, width)."""
        found = self.image_processor(images=[picture.pixels], return_tensors="np")
        if "image_grid_thw" not in found:
            raise ModelError(
                f"{type(self.image_processor).__name__} cuts pictures into no patch grid; use a model of the Qwen-VL "
                "family, or text observations."
            )
        time, height, width = (int(extent) for extent in found["image_grid_thw"][0])
        return found["pixel_values"], (time, height, width)

    def grid(self, picture: Image) -> tuple[int, int, int]:
        """Patches in time, height and width; they depend on the size alone."""
        size = picture.size
        if size not in self._grids:
            self._grids[size] = self.pixels(picture)[1]
        return self._grids[size]

    def count(self, picture: Image) -> int:
        """Tokens the picture fills."""
        return int(math.prod(self.grid(picture))) // int(self.image_processor.merge_size) ** 2


class Features(NamedTuple):
    """What the vision tower makes of a picture: embeddings [n, d], and those added after the first layers."""

    embeds: Tensor
    deep: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in (self.embeds, *self.deep))


class Piece(NamedTuple):
    """Tokens `first` to before `last` of a picture, from position `at` of a pass on."""

    at: int
    picture: Image
    first: int
    last: int


@dataclass(slots=True)
class _Cache:
    """Features under one version of the tower's weights, the least recently used first."""

    version: int = -1
    bytes: int = 0
    known: OrderedDict[str, Features] = field(default_factory=OrderedDict)


_CACHES: weakref.WeakKeyDictionary[Any, _Cache] = weakref.WeakKeyDictionary()


def sees_pictures(model: Any) -> bool:
    """Whether the model was loaded with an image processor."""
    return getattr(model, PROCESSOR, None) is not None


def processor(model: Any) -> ImageProcessor:
    """The processor the model was loaded with.

    Raises:
        ModelError: It reads text only.
    """
    found = getattr(model, PROCESSOR, None)
    if not isinstance(found, ImageProcessor):
        raise ModelError(
            f"{type(model).__name__} reads text only, but a prompt holds a picture; load a vision-language model or "
            "use text observations."
        )
    return found


def vision_tower(model: Any) -> Any:
    """The module that encodes pictures, projection to the decoder's width included."""
    return model.get_encoder(modality="image")


def freeze_vision(model: Any, frozen: bool) -> None:
    """Exclude the vision tower from training, or include it; nothing happens to a model without one."""
    if sees_pictures(model):
        vision_tower(model).requires_grad_(not frozen)


def forget_pictures(model: Any) -> None:
    """Drop the features: the weights may have changed."""
    _CACHES.pop(model, None)


def features(model: Any, pictures: Iterable[Image]) -> dict[str, Features]:
    """Features of each distinct picture by key.

    Every picture is encoded once under one version of the weights. Where gradients reach the tower nothing is kept.
    """
    wanted = {picture.key: picture for picture in pictures}
    weights = list(vision_tower(model).parameters())
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
        return _encode(model, wanted)
    cache = _CACHES.setdefault(model, _Cache())
    version = sum(weight._version for weight in weights)
    if version != cache.version:
        cache.version, cache.bytes = version, 0
        cache.known.clear()
    new = {key: picture for key, picture in wanted.items() if key not in cache.known}
    if new:
        # Kept beyond this pass, so they must be usable where gradients are recorded and in the model's own precision.
        device = model.get_input_embeddings().weight.device
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            made = _encode(model, new)
        cache.known.update(made)
        cache.bytes += sum(one.bytes for one in made.values())
    for key in wanted:
        cache.known.move_to_end(key)
    found = {key: cache.known[key] for key in wanted}
    while cache.bytes > _KEPT_BYTES and len(cache.known) > len(wanted):
        cache.bytes -= cache.known.popitem(last=False)[1].bytes
    return found


def insert(model: Any, input_ids_N: Tensor, pieces: Sequence[Piece]) -> dict[str, Any]:  # noqa: N803
    """What the decoder takes instead of `input_ids`: token embeddings with those of pictures in their places."""
    found = features(model, [piece.picture for piece in pieces])
    ordered = sorted(pieces)
    device = input_ids_N.device
    index = torch.cat([torch.arange(p.at, p.at + p.last - p.first) for p in ordered]).to(device)
    embeds = model.get_input_embeddings()(input_ids_N)
    seen = torch.cat([found[p.picture.key].embeds[p.first : p.last] for p in ordered]).to(embeds.dtype)
    inputs: dict[str, Any] = {"inputs_embeds": embeds.index_copy(0, index, seen).unsqueeze(0)}
    layers = [[found[p.picture.key].deep[layer][p.first : p.last] for p in ordered] for layer in range(_depth(found))]
    if layers:
        mask = torch.zeros(len(input_ids_N), dtype=torch.bool, device=device)
        mask[index] = True
        inputs["visual_pos_masks"] = mask.unsqueeze(0)
        inputs["deepstack_visual_embeds"] = [torch.cat(layer).to(embeds.dtype) for layer in layers]
    return inputs


def rope_positions(model: Any, length: int, pictures: Sequence[Placed]) -> NDArray[np.int64]:
    """Rotary positions int64 [3, T] (time, height, width) of a sequence, by the model's own rule."""
    if not pictures:
        return np.broadcast_to(np.arange(length), (3, length))
    kinds = np.zeros((1, length), dtype=np.int64)
    for placed in pictures:
        kinds[0, placed.start : placed.end] = 1
    grids = torch.tensor([processor(model).grid(placed.picture) for placed in pictures])
    kinds_T = torch.from_numpy(kinds)  # noqa: N806
    positions, _ = model.base_model.get_rope_index(kinds_T, mm_token_type_ids=kinds_T, image_grid_thw=grids)
    found: NDArray[np.int64] = positions[:, 0].numpy()
    return found


def packed_pictures(pictures: Sequence[Sequence[Placed]], lengths: Sequence[int]) -> list[Piece]:
    """The pictures of rows laid end to end."""
    starts = itertools.accumulate(lengths, initial=0)
    return [
        Piece(start + placed.start, placed.picture, 0, placed.end - placed.start)
        for start, row in zip(starts, pictures, strict=False)
        for placed in row
    ]


def _depth(found: dict[str, Features]) -> int:
    return len(next(iter(found.values())).deep)


def _encode(model: Any, pictures: dict[str, Image]) -> dict[str, Features]:
    device = model.get_input_embeddings().weight.device
    ready = [(key, *processor(model).pixels(picture)) for key, picture in pictures.items()]
    made: dict[str, Features] = {}
    start = 0
    while start < len(ready):
        end, patches = start, 0
        while end < len(ready) and (end == start or patches + len(ready[end][1]) <= _PATCHES_AT_ONCE):
            patches += len(ready[end][1])
            end += 1
        batch = ready[start:end]
        values = torch.from_numpy(np.concatenate([pixels for _, pixels, _ in batch])).to(device)
        grids = torch.tensor([grid for _, _, grid in batch], device=device)
        out = model.get_image_features(values, grids, return_dict=True)
        deep = list(zip(*(getattr(out, "deepstack_features", None) or ()), strict=True)) or [()] * len(batch)
        made |= {key: Features(e, tuple(d)) for (key, _, _), e, d in zip(batch, out.pooler_output, deep, strict=True)}
        start = end
    return made
