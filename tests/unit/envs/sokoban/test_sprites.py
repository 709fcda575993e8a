from __future__ import annotations

import hashlib

import numpy as np
import pytest

from himac.envs.sokoban.level import make_level
from himac.envs.sokoban.sprites import SPRITE, Renderer, sprites
from himac.envs.sokoban.state import State
from himac.errors import ConfigError

STATE = State(make_level("six", ["######", "#+ $ #", "#  * #", "#    #", "#    #", "######"]))


def test_sprites_differ_and_cannot_be_changed() -> None:
    drawn = sprites()
    assert drawn.shape == (7, SPRITE, SPRITE, 3)
    assert len({sprite.tobytes() for sprite in drawn}) == 7
    assert not drawn.flags.writeable


def test_every_cell_shows_its_sprite() -> None:
    image = Renderer(6, 6, 96)(STATE)
    cells = image.reshape(6, SPRITE, 6, SPRITE, 3).transpose(0, 2, 1, 3, 4)
    expected = [*STATE.cells]
    expected[STATE.player] = 6
    for cell, code in enumerate(expected):
        assert np.array_equal(cells[divmod(cell, 6)], sprites()[code])


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (96, (96, 96, 3)),
        (97, (192, 192, 3)),
        (256, (288, 288, 3)),
        ((256, 256), (256, 256, 3)),
        ((40, 300), (40, 300, 3)),
    ],
)
def test_sizes(size: int | tuple[int, int], shape: tuple[int, int, int]) -> None:
    renderer = Renderer(6, 6, size)
    image = renderer(STATE)
    assert (image.shape, image.dtype, renderer.shape) == (shape, np.uint8, shape)
    # Resampling picks pixels: it makes no new colours.
    assert {tuple(pixel) for pixel in image.reshape(-1, 3)} <= {tuple(p) for p in sprites().reshape(-1, 3)}


def test_the_shorter_side_reaches_the_size() -> None:
    level = make_level("flat", ["########", "#@$.   #", "########"])
    assert Renderer(3, 8, 100)(State(level)).shape == (144, 384, 3)


def test_pictures_are_the_same_everywhere() -> None:
    digest = hashlib.sha256(Renderer(6, 6, (256, 256))(STATE).tobytes()).hexdigest()
    assert digest == "c4430353f5d451ab24ccee90ea39d4acb506033b18e8a61ff1f9dc2aabd56ca9"


def test_marks_name_every_cell_and_nothing_else() -> None:
    plain, marked = Renderer(6, 6, 96)(STATE), Renderer(6, 6, 96, marks=True)(STATE)
    names = (plain != marked).any(axis=2).reshape(6, SPRITE, 6, SPRITE).transpose(0, 2, 1, 3)
    assert len({names[row, column].tobytes() for row in range(6) for column in range(6)}) == 36
    assert not names[:, :, :10].any()
    row, column = names[2, :, :, :4], names[:, 3, :, 4:]  # every name of a row starts alike, of a column ends alike
    assert (row == row[0]).all()
    assert (column == column[0]).all()


def test_marks_need_one_digit() -> None:
    with pytest.raises(ConfigError, match="boards up to 10x10, not 3x11"):
        Renderer(3, 11, 96, marks=True)


@pytest.mark.parametrize("size", [0, (256, 0), (1, 2, 3)])
def test_bad_sizes(size: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="image size"):
        Renderer(6, 6, size)
