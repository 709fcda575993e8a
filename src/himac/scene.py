"""What an agent is shown: text, pictures, or both in reading order; and where pictures lie among token ids.

Text stays a plain `str` everywhere; only what holds a picture is a `Scene`, and only ids among which one lies are a
`Prompt`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from himac.errors import EnvironmentFailureError


class Image:
    """An RGB picture named by its content. Equal pictures of one process are one object, whatever their way here.

    It is kept packed: drawn boards shrink to a fraction, and a rollout holds thousands of them.

    Args:
        data: uint8 [height, width, 3], or `packed` of a picture.
        shape: Of a packed picture.

    Attributes:
        key: SHA-256 (hex) of shape and pixels.
        packed: The pixels, compressed with zlib.
    """

    __slots__ = ("__weakref__", "key", "packed", "shape")
    _known: ClassVar[WeakValueDictionary[str, Image]] = WeakValueDictionary()

    key: str
    packed: bytes
    shape: tuple[int, ...]

    def __new__(cls, data: NDArray[np.uint8] | bytes, shape: tuple[int, ...] | None = None) -> Self:
        if not isinstance(data, bytes) and not is_picture(data):
            raise EnvironmentFailureError(
                f"a picture of {data.dtype} {list(data.shape)} was observed; return uint8 [height, width, 3]."
            )
        pixels = zlib.decompress(data) if isinstance(data, bytes) else data.tobytes()
        shape = data.shape if not isinstance(data, bytes) else shape
        key = hashlib.sha256(f"{shape}".encode() + pixels).hexdigest()
        found = cls._known.get(key)
        if found is None:
            found = super().__new__(cls)
            packed = data if isinstance(data, bytes) else zlib.compress(pixels, 1)
            for name, value in (("key", key), ("packed", packed), ("shape", shape)):
                object.__setattr__(found, name, value)
            cls._known[key] = found
        assert isinstance(found, cls)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a picture is frozen; {name} cannot be set")

    def __reduce__(self) -> tuple[type[Image], tuple[bytes, tuple[int, ...]]]:
        return Image, (self.packed, self.shape)

    def __repr__(self) -> str:
        return f"[picture {self.key}]"

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [height, width, 3], read-only, unpacked anew."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.shape[0], self.shape[1]


def is_picture(value: Any) -> bool:
    """Whether it is a uint8 array [height, width, 3]."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.ndim == 3
        and value.shape[2] == 3
        and value.size > 0
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """Text and pictures in reading order, at least one picture among them. As text, a picture is its hash.

    Attributes:
        caption: What a person is told instead. A model never sees it; a warm start may teach it to say it.
    """

    parts: tuple[str | Image, ...]
    caption: str = field(default="", compare=False)

    def __add__(self, other: Content) -> Scene:
        """What stands behind is told after; texts that meet become one."""
        return _merged((*self.parts, *_parts(other)))

    def __radd__(self, other: str) -> Scene:
        return _merged((other, *self.parts))

    def __str__(self) -> str:
        return "\n".join(part if isinstance(part, str) else repr(part) for part in self.parts)

    @property
    def pictures(self) -> tuple[Image, ...]:
        """The pictures in reading order."""
        return tuple(part for part in self.parts if isinstance(part, Image))


Content = str | Scene


def join(separator: str, parts: Iterable[Content]) -> Content:
    """The parts that are not empty in reading order, texts with `separator` between them and around pictures."""
    kept = [part for part in parts if part]
    texts = [part for part in kept if isinstance(part, str)]
    if len(texts) == len(kept):
        return separator.join(texts)
    return _merged(piece for n, part in enumerate(kept) for piece in ((separator,) * (n > 0) + _parts(part)))


def _merged(pieces: Iterable[str | Image]) -> Scene:
    """A scene of these pieces; texts that meet become one."""
    found = list[str | Image]()
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, str) and isinstance(last, str):
            found[-1] = last + piece
        elif piece:
            found.append(piece)
    return Scene(tuple(found))


def _parts(content: Content) -> tuple[str | Image, ...]:
    return (content,) if isinstance(content, str) else content.parts


def plain(content: Content) -> str:
    """The text of a content, pictures left out."""
    if isinstance(content, str):
        return content
    return "\n".join(part for part in content.parts if isinstance(part, str))


def retold(content: Content, text: str) -> Content:
    """The text alone, or behind it the pictures of a scene."""
    return text if isinstance(content, str) else join("\n", (text, Scene(content.pictures)))


def in_words(content: Content) -> str:
    """The content for a person at a terminal: a scene's caption, where it has one."""
    return content if isinstance(content, str) else content.caption or str(content)


def observed(value: Any, caption: str = "") -> Content:
    """An environment's observation as content.

    Args:
        value: Text; a uint8 array [height, width, 3]; a mapping with `text` and `image`; or a sequence of texts and
            arrays.
        caption: See `Scene`.

    Raises:
        EnvironmentFailureError: it is none of these.
    """
    if isinstance(value, str | Scene):
        return value
    parts = [value]
    if isinstance(value, Mapping):
        parts = [value[key] for key in ("text", "image") if key in value]
    elif isinstance(value, list | tuple):
        parts = list(value)
    if not parts or not all(isinstance(part, str | np.ndarray) for part in parts):
        raise EnvironmentFailureError(
            f"the environment observes {_kind(value)}; return a text, a picture (uint8 [height, width, 3]), a sequence "
            "of both, or a mapping with text and image."
        )
    found = tuple(Image(part) if isinstance(part, np.ndarray) else part for part in parts)
    if any(isinstance(part, Image) for part in found):
        return Scene(tuple(part for part in found if part), caption)
    return "\n".join(str(part) for part in found)


def _kind(value: Any) -> str:
    """Type of a value, and of what a container holds."""
    held = list(value.values() if isinstance(value, Mapping) else value) if isinstance(value, Collection) else []
    kinds = sorted({type(one).__name__ for one in held[:100]})
    return type(value).__name__ + (f" of {', '.join(kinds)}" if kinds else "")


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture in a token sequence: it fills the positions from `start` to before `end`."""

    start: int
    end: int
    picture: Image

    def moved(self, by: int) -> Placed:
        """The same picture `by` positions further on."""
        return Placed(self.start + by, self.end + by, self.picture)


class Prompt(list[int]):
    """Token ids among which pictures lie.

    Attributes:
        pictures: Where, in order.
    """

    def __init__(self, token_ids: Iterable[int] = (), pictures: Iterable[Placed] = ()) -> None:
        super().__init__(token_ids)
        self.pictures = tuple(pictures)


def pictures_in(token_ids: Sequence[int]) -> tuple[Placed, ...]:
    """The pictures among token ids; none unless they are a `Prompt`."""
    return token_ids.pictures if isinstance(token_ids, Prompt) else ()
