from __future__ import annotations

import pytest

from himac.envs.sokoban.level import canonical, make_level
from himac.errors import DataError

ROWS = ["#####", "#@$.#", "#   #", "#####"]


def test_codes_and_sizes() -> None:
    level = make_level("a", ["######", "#+$* #", "######"])
    assert (level.height, level.width, level.boxes) == (3, 6, 2)
    assert bytes(level.state()) == bytes([0] * 6 + [0, 5, 4, 3, 1, 0] + [0] * 6)
    assert level.beneath() == bytes([0] * 6 + [0, 2, 1, 2, 1, 0] + [0] * 6)


def test_short_rows_end_in_walls() -> None:
    assert make_level("a", ["###", "#@$.#", "#####"]).rows[0] == "#####"


@pytest.mark.parametrize(
    ("moves", "kind"),
    [
        (None, "1box-4x5"),
        (3, "1box-4x5-01to03"),
        (8, "1box-4x5-08to11"),
        (31, "1box-4x5-24to31"),
        (40, "1box-4x5-32up"),
    ],
)
def test_kind_is_the_difficulty(moves: int | None, kind: str) -> None:
    assert make_level("a", ROWS, moves).kind == kind


def test_the_eight_symmetries_share_one_form() -> None:
    turned, forms = ROWS, set()
    for _ in range(4):
        forms |= {tuple(turned), tuple(row[::-1] for row in turned)}
        turned = ["".join(column) for column in zip(*turned[::-1], strict=True)]
    assert len(forms) == 8
    assert len({canonical(form) for form in forms}) == 1
    assert canonical(["#####", "#$@.#", "#   #", "#####"]) != canonical(ROWS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least 3 by 3"),
        (["#####", "#@$.#", "## ##"], "open at its border"),
        (["#####", "#@$x#", "#####"], "the symbol 'x'"),
        (["#####", "# $.#", "#####"], "has 0 players"),
        (["#####", "#@$+#", "#####"], "has 2 players"),
        (["#####", "#@$ #", "#####"], "1 boxes and 0 targets"),
        (["#####", "#@  #", "#####"], "0 boxes and 0 targets"),
    ],
)
def test_broken_levels_are_refused(rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_level("bad", rows)
