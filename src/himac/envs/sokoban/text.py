"""Two ways to show a board as text: `grid` (a picture in symbols) and `coordinates` (positions, for small models).

Rows and columns count from 0 at the top left, walls included.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from himac.envs.sokoban.level import BOX, BOX_ON_TARGET, FLOOR, ON_TARGET, PLAYER, SYMBOLS, TARGET, WALL
from himac.envs.sokoban.state import DIRECTIONS, State

_CONTENTS = {WALL: "wall", FLOOR: "floor", TARGET: "target", BOX_ON_TARGET: "done", BOX: "box", PLAYER: "player"}

View = Literal["grid", "coordinates"]

# Floor is drawn, because tokenizers merge runs of blanks.
_GRID = bytes.maketrans(bytes(range(len(SYMBOLS))), SYMBOLS.replace(" ", "_").encode())


@lru_cache(maxsize=64)
def cell_names(height: int, width: int, view: View) -> tuple[str, ...]:
    """Every cell's name: "r2c3", or "23" in the view `coordinates` on boards up to 10x10 (one token, not four)."""
    form = "{}{}" if view == "coordinates" and max(height, width) <= 10 else "r{}c{}"
    return tuple(form.format(row, column) for row in range(height) for column in range(width))


@lru_cache(maxsize=64)
def inner_cells(height: int, width: int) -> tuple[int, ...]:
    """The cells inside the border, row by row."""
    return tuple(row * width + column for row in range(1, height - 1) for column in range(1, width - 1))


def grid_text(state: State) -> str:
    """One line a row: # wall, _ floor, . target, $ box, * box on target, @ player, + player on target."""
    text = state.cells.translate(_GRID).decode()
    if state.beneath[state.player] == TARGET:
        text = f"{text[: state.player]}{ON_TARGET}{text[state.player + 1 :]}"
    width = state.level.width
    return "\n".join([text[start : start + width] for start in range(0, len(text), width)])


def fixed_text(state: State) -> str:
    """What never changes: the targets and the walls inside the border."""
    height, width = state.level.height, state.level.width
    names = cell_names(height, width, "coordinates")
    walls = [names[cell] for cell in inner_cells(height, width) if state.beneath[cell] == WALL]
    targets = " ".join(names[cell] for cell in state.targets())
    return f"target {targets}, wall {' '.join(walls) or 'none'}"


def moving_text(state: State) -> str:
    """What a move can change: player, boxes, and the directions that move without and with a push."""
    names = cell_names(state.level.height, state.level.width, "coordinates")
    boxes = " ".join([names[cell] for cell in state.boxes()])
    moves = " ".join([name for name in DIRECTIONS if state.allows(name, push=False)])
    pushes = " ".join([name for name in DIRECTIONS if state.pushes(name)])
    return f"player {names[state.player]}, box {boxes}, move {moves or 'none'}, push {pushes or 'none'}"


def board_words(state: State, view: View) -> str:
    """The whole board in the words of the view."""
    return grid_text(state) if view == "grid" else f"{fixed_text(state)}, {moving_text(state)}"


def caption_text(state: State, view: View) -> str:
    """What a model from scratch learns to see by: every cell inside the border, then the board in words.

    A name with its content beside it is a question with one answer in the picture. Without these pairs a small model
    learned in the same time to write such texts, but not to look.
    """
    if view == "grid":
        return grid_text(state)
    height, width = state.level.height, state.level.width
    names = cell_names(height, width, view)
    cells = " ".join(f"{names[cell]} {_CONTENTS[state.cells[cell]]}" for cell in inner_cells(height, width))
    return f"{cells}, {board_words(state, view)}"


def start_text(overview: str, observation: str) -> str:
    """What a segment starts with: the fixed part, unless the observation has it, and the latest observation."""
    if not overview or observation.startswith(overview):
        return observation
    return f"{overview}\n{observation}"
