"""Boards as RGB pictures from sprites drawn here."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from himac.envs.sokoban.level import BOX, BOX_ON_TARGET, FLOOR, PLAYER, TARGET, WALL
from himac.envs.sokoban.state import State
from himac.errors import ConfigError

Pixels = NDArray[np.uint8]

SPRITE = 16
"""Side of a sprite in pixels."""
PLAYER_ON_TARGET = 6

_FLOOR, _DOT = (236, 226, 206), (222, 210, 186)
_BRICK, _MORTAR = (150, 84, 66), (104, 56, 46)
_RING = (206, 48, 48)
_WOOD, _EDGE = (206, 150, 72), (122, 78, 30)
_DONE, _DONE_EDGE = (112, 178, 92), (46, 102, 44)
_SHIRT, _SKIN, _HAIR = (52, 94, 178), (246, 206, 170), (70, 46, 34)


_INK = (20, 20, 20)
_DIGITS = (
    "###/#.#/#.#/#.#/###",
    ".#./##./.#./.#./###",
    "###/..#/###/#../###",
    "###/..#/.##/..#/###",
    "#.#/#.#/###/..#/..#",
    "###/#../###/..#/###",
    "###/#../###/#.#/###",
    "###/..#/..#/.#./.#.",
    "###/#.#/###/#.#/###",
    "###/#.#/###/..#/###",
)


@lru_cache(maxsize=1)
def sprites() -> Pixels:
    """uint8 [7, 16, 16, 3]: the sprite of every cell code, and of a player on a target."""
    drawn = np.empty((7, SPRITE, SPRITE, 3), np.uint8)
    drawn[FLOOR] = _floor()
    drawn[WALL] = _wall()
    drawn[TARGET] = _ring(_floor())
    drawn[BOX] = _crate(_WOOD, _EDGE)
    drawn[BOX_ON_TARGET] = _crate(_DONE, _DONE_EDGE)
    drawn[PLAYER] = _figure(_floor())
    drawn[PLAYER_ON_TARGET] = _figure(_ring(_floor()))
    drawn.setflags(write=False)
    return drawn


def _floor() -> Pixels:
    tile = np.full((SPRITE, SPRITE, 3), _FLOOR, np.uint8)
    tile[4::8, 4::8] = tile[12::8, 8::8] = _DOT
    return tile


def _wall() -> Pixels:
    tile = np.full((SPRITE, SPRITE, 3), _BRICK, np.uint8)
    tile[3::4] = _MORTAR
    for top in (0, 8):
        tile[top : top + 3, 7] = tile[top + 4 : top + 7, (3, 11)] = _MORTAR
    return tile


def _ring(tile: Pixels) -> Pixels:
    rows, columns = np.ogrid[:SPRITE, :SPRITE]
    squared = (2 * rows - SPRITE + 1) ** 2 + (2 * columns - SPRITE + 1) ** 2
    tile[(squared <= 110) & (squared >= 50) | (squared <= 10)] = _RING
    return tile


def _crate(wood: tuple[int, int, int], edge: tuple[int, int, int]) -> Pixels:
    tile = _floor()
    tile[1:15, 1:15] = edge
    tile[3:13, 3:13] = wood
    diagonal = np.arange(3, 13)
    tile[diagonal, diagonal] = tile[diagonal, 15 - diagonal] = edge
    return tile


def _figure(tile: Pixels) -> Pixels:
    tile[2:4, 5:11] = _HAIR
    tile[4:7, 5:11] = _SKIN
    tile[5, (6, 9)] = _HAIR
    tile[7:12, 4:12] = _SHIRT
    tile[8:11, (3, 12)] = _SKIN
    tile[12:14, 5:7] = tile[12:14, 9:11] = _HAIR
    return tile


def _marks(height: int, width: int) -> NDArray[np.bool_]:
    """Mask [16 height, 16 width]: the pixels of every cell's row and column, in its lower left corner."""
    marks = np.zeros((height, SPRITE, width, SPRITE), np.bool_)
    for row in range(height):
        for column in range(width):
            marks[row, 10:15, column, 1:4] = _digit(row)
            marks[row, 10:15, column, 5:8] = _digit(column)
    return marks.reshape(height * SPRITE, width * SPRITE)


def _digit(value: int) -> NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in line] for line in _DIGITS[value].split("/")])


class Renderer:
    """Draws boards of one size.

    Args:
        size: Least length of the shorter side in pixels, reached by whole multiples of the sprites; or the exact
            (height, width), reached by taking the nearest pixels.
        marks: Write row and column into every cell, as "23" for row 2, column 3 (set-of-mark prompting, Yang et al.,
            2023). For boards up to 10x10.
    """

    def __init__(self, height: int, width: int, size: int | tuple[int, int] = 256, marks: bool = False) -> None:
        exact = (size, size) if isinstance(size, int) else tuple(size)
        if len(exact) != 2 or min(exact) < 1:
            raise ConfigError(f"the image size is {size}; give a number of pixels or (height, width), each above 0.")
        if marks and max(height, width) > 10:
            raise ConfigError(f"marks are for boards up to 10x10, not {height}x{width}; set marks to false.")
        self._grid = (height, width)
        # Resampling the nearest pixels of a whole multiple gives what resampling the sprites themselves gives.
        scale = -(-size // (SPRITE * min(height, width))) if isinstance(size, int) else 1
        self._sprites = sprites().repeat(scale, axis=1).repeat(scale, axis=2)
        self._marks = _marks(height, width).repeat(scale, axis=0).repeat(scale, axis=1) if marks else None
        side = SPRITE * scale
        self._pick: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None
        self.shape = (height * side, width * side, 3)
        if not isinstance(size, int):
            # The centre of each pixel, mapped onto the picture of the sprites.
            rows, columns = (
                ((2 * np.arange(wanted) + 1) * have // (2 * wanted)).astype(np.intp)
                for wanted, have in zip(exact, self.shape, strict=False)
            )
            self._pick = rows, columns
            self.shape = (*exact, 3)

    def __call__(self, state: State) -> Pixels:
        """uint8 [height, width, 3] of `shape`."""
        codes = np.frombuffer(bytes(state.cells), np.uint8)
        if state.beneath[state.player] == TARGET:
            codes = codes.copy()
            codes[state.player] = PLAYER_ON_TARGET
        height, width = self._grid
        cells = self._sprites[codes].reshape(height, width, *self._sprites.shape[1:])
        image = cells.transpose(0, 2, 1, 3, 4).reshape(height * cells.shape[2], width * cells.shape[3], 3)
        if self._marks is not None:
            image[self._marks] = _INK
        if self._pick is None:
            return image
        # Columns first: rows are copied whole, so the small picture should be the one that is widened pixel by pixel.
        return image.take(self._pick[1], axis=1).take(self._pick[0], axis=0)
