"""Pictures in a terminal: two pixels a character."""

from __future__ import annotations

from rich.text import Text

from himac.scene import Image

_COLUMNS = 48


def blocks(image: Image) -> Text:
    """The picture, at most 48 characters wide: the upper half of a cell is the character, the lower its background."""
    pixels = image.pixels
    step = max(1, -(-pixels.shape[1] // _COLUMNS))
    small = pixels[::step, ::step]
    text = Text()
    for row in range(0, len(small) - 1, 2):
        for upper, lower in zip(small[row], small[row + 1], strict=True):
            text.append("▀", f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
        text.append("\n")
    return text


def _rgb(pixel: object) -> str:
    return ",".join(str(int(value)) for value in pixel)  # type: ignore[attr-defined]
