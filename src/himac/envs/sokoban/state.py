"""The rules: state codes, moves, rewards and ends equal to the original gym-sokoban."""

from __future__ import annotations

from himac.envs.sokoban.level import BOX, BOX_ON_TARGET, FLOOR, PLAYER, TARGET, Level

DIRECTIONS = ("up", "down", "left", "right")
"""In the order of the original's actions."""

STEP_REWARD = -0.1
BOX_REWARD = 1.0
WIN_REWARD = 10.0


def strides(width: int) -> dict[str, int]:
    """What a step in each direction adds to a cell's index."""
    return {"up": -width, "down": width, "left": -1, "right": 1}


class State:
    """A level being played; cells are indices row * width + column.

    Attributes:
        cells: Code of every cell (see `level`), changed in place.
        beneath: Codes without boxes and player.
        player: The player's cell.
        covered: Targets with a box, as the original counts them: none before the first step.
    """

    __slots__ = ("_strides", "_targets", "beneath", "cells", "covered", "level", "player")

    def __init__(self, level: Level, cells: bytearray | None = None, covered: int = 0) -> None:
        self.level = level
        self.beneath = level.beneath()
        self.cells = level.state() if cells is None else cells
        self.player = self.cells.index(PLAYER)
        self.covered = covered
        self._strides = strides(level.width)
        self._targets = [cell for cell, code in enumerate(self.beneath) if code == TARGET]

    @property
    def won(self) -> bool:
        """Every target has a box."""
        cells = self.cells
        return all(cells[target] == BOX_ON_TARGET for target in self._targets)

    def boxes(self) -> list[int]:
        """Cells of the boxes, ascending."""
        return [cell for cell, code in enumerate(self.cells) if code in (BOX, BOX_ON_TARGET)]

    def targets(self) -> list[int]:
        """Cells of the targets, ascending."""
        return self._targets

    def pushes(self, direction: str) -> bool:
        """Whether a move would push a box."""
        stride = self._strides[direction]
        cell = self.player + stride
        return self.cells[cell] in (BOX, BOX_ON_TARGET) and self.cells[cell + stride] in (FLOOR, TARGET)

    def allows(self, direction: str, push: bool = True) -> bool:
        """Whether a move (which may push, unless `push` is false) would change anything."""
        return self.cells[self.player + self._strides[direction]] in (FLOOR, TARGET) or (
            push and self.pushes(direction)
        )

    def move(self, direction: str, push: bool = True) -> tuple[bool, bool]:
        """Move the player, and a box in the way when `push` is true; returns (player moved, box moved)."""
        cells, stride = self.cells, self._strides[direction]
        cell = self.player + stride
        pushed = push and self.pushes(direction)
        if pushed:
            beyond = cell + stride
            cells[beyond] = BOX_ON_TARGET if self.beneath[beyond] == TARGET else BOX
        elif cells[cell] not in (FLOOR, TARGET):
            return False, False
        cells[self.player] = self.beneath[self.player]
        cells[cell] = PLAYER
        self.player = cell
        return True, pushed

    def reward(self) -> float:
        """Reward of the step just taken; as in the original a solved level pays at every step, not once."""
        cells = self.cells
        covered = sum(cells[target] == BOX_ON_TARGET for target in self._targets)
        reward = STEP_REWARD
        if covered > self.covered:
            reward += BOX_REWARD
        elif covered < self.covered:
            reward -= BOX_REWARD
        if covered == len(self._targets):
            reward += WIN_REWARD
        self.covered = covered
        return reward
