"""A Sokoban level: its text form, difficulty class and canonical form under the eight symmetries of a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from himac.errors import DataError

WALL, FLOOR, TARGET, BOX_ON_TARGET, BOX, PLAYER = range(6)
"""Cell codes of the original (gym-sokoban); a player on a target is `PLAYER` in the state and `TARGET` beneath."""

SYMBOLS = "# .*$@"
"""The common text form of a cell, by code; `+` is a player on a target."""
ON_TARGET = "+"

LONGEST = 200
"""Cells of a side."""

_BENEATH = {"#": WALL, " ": FLOOR, "$": FLOOR, "@": FLOOR, ".": TARGET, "*": TARGET, ON_TARGET: TARGET}
_LENGTH_CLASSES = ((1, 3), (4, 7), (8, 11), (12, 15), (16, 23), (24, 31))


@dataclass(frozen=True, slots=True)
class Level:
    """One level, enclosed in walls.

    Attributes:
        rows: Equally long rows of `SYMBOLS`, from the top.
        moves: Length of a shortest solution in moves, pushes included; `None` when not known.
        pushes: Least pushes of any solution; `None` when not known.
    """

    id: str
    rows: tuple[str, ...]
    moves: int | None = None
    pushes: int | None = None

    @property
    def height(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        return len(self.rows[0])

    @property
    def boxes(self) -> int:
        return sum(row.count("$") + row.count("*") for row in self.rows)

    @property
    def kind(self) -> str:
        """Difficulty class: boxes, size and, where known, the range of the optimal length in moves."""
        name = f"{self.boxes}box-{self.height}x{self.width}"
        if self.moves is None:
            return name
        for low, high in _LENGTH_CLASSES:
            if self.moves <= high:
                return f"{name}-{low:02d}to{high:02d}"
        return f"{name}-{_LENGTH_CLASSES[-1][1] + 1:02d}up"

    @property
    def content(self) -> bytes:
        """Id and board, as the hashes of splits take them in."""
        return "\n".join((self.id, *self.rows, "")).encode()

    @property
    def cells(self) -> str:
        """All rows as one string; a cell's index is row * width + column."""
        return "".join(self.rows)

    def beneath(self) -> bytes:
        """Codes `WALL`, `FLOOR` and `TARGET` of all cells, without boxes and player."""
        return bytes(_BENEATH[symbol] for symbol in self.cells)

    def state(self) -> bytearray:
        """Codes of all cells at the start."""
        return bytearray(PLAYER if symbol == ON_TARGET else SYMBOLS.index(symbol) for symbol in self.cells)


def make_level(identifier: str, rows: Sequence[str], moves: int | None = None, pushes: int | None = None) -> Level:
    """A checked level; a short row ends in walls.

    Raises:
        DataError: a strange symbol, an open border, not exactly one player, or boxes and targets differ in number.
    """
    width = max((len(row) for row in rows), default=0)
    if max(len(rows), width) > LONGEST:
        raise DataError(f"Sokoban level '{identifier}' is {len(rows)} by {width} cells; no side may pass {LONGEST}.")
    level = Level(identifier, tuple(row.ljust(width, "#") for row in rows), moves, pushes)
    text = level.cells if width else ""
    problem = None
    strange = sorted(set(text) - _BENEATH.keys())
    if len(rows) < 3 or width < 3:
        problem = f"is {len(rows)} by {width} cells; a level has at least 3 by 3"
    elif strange:
        problem = f"has the symbol {strange[0]!r}; use only {' '.join(sorted(_BENEATH.keys() - {' '}))} and blanks"
    elif set(level.rows[0] + level.rows[-1] + "".join(row[0] + row[-1] for row in level.rows)) != {"#"}:
        problem = "is open at its border; enclose it in walls (#)"
    elif text.count("@") + text.count(ON_TARGET) != 1:
        problem = f"has {text.count('@') + text.count(ON_TARGET)} players; a level has one (@, or + on a target)"
    else:
        targets = sum(text.count(symbol) for symbol in (".", "*", ON_TARGET))
        if not 0 < level.boxes == targets:
            problem = f"has {level.boxes} boxes and {targets} targets; give it as many targets as boxes, at least one"
    if problem is not None:
        raise DataError(f"Sokoban level '{identifier}' {problem}.")
    return level


def canonical(rows: Sequence[str]) -> str:
    """The least of a board's eight rotations and reflections: equal for levels that differ by symmetry only."""
    forms = []
    turned = list(rows)
    for _ in range(4):
        forms += ["/".join(turned), "/".join(row[::-1] for row in turned)]
        turned = ["".join(column) for column in zip(*reversed(turned), strict=True)]
    return min(forms)
