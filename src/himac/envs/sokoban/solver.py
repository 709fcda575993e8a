"""Exact optimal solutions by A* over pushes, with squares pruned from which no target can be reached.

A node is (player right after a push, boxes). An edge walks to a box and pushes it once, so both the least moves and
the least pushes are shortest paths of one graph, under the costs (moves, pushes) and (pushes, moves).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from himac.envs.sokoban.level import TARGET, WALL, Level
from himac.envs.sokoban.state import State, strides
from himac.errors import DataError

Objective = Literal["moves", "pushes"]

_FAR = 1 << 20
_MATCHED_BOXES = 6
"""Up to this many boxes the bound assigns boxes to different targets; beyond it each box takes its nearest."""


@dataclass(frozen=True, slots=True)
class Solution:
    """An optimal solution.

    Attributes:
        path: Directions, one a move; a move into a box pushes it.
        pushes: How many of the moves push.
    """

    path: tuple[str, ...]
    pushes: int

    @property
    def moves(self) -> int:
        return len(self.path)


def solve(level: Level, objective: Objective = "moves", max_states: int = 1_000_000) -> Solution | None:
    """A shortest solution from the level's start, or `None` when there is none.

    Args:
        objective: What is minimised; the other count breaks ties.
        max_states: Expanded states after which the search gives up.

    Raises:
        DataError: `max_states` was reached before a solution or a proof that there is none.
    """
    return solve_state(State(level), objective, max_states)


def solve_state(state: State, objective: Objective = "moves", max_states: int = 1_000_000) -> Solution | None:
    """As `solve`, from the present state of a game."""
    board = _Board(state)
    # One integer for (first, second) costs; a path is far shorter than the factor.
    move, push = (_FAR, 1) if objective == "moves" else (1, _FAR)
    start = (state.player, tuple(state.boxes()))
    bound = board.bound(start[1])
    best = {start: 0}
    before: dict[_Node, tuple[_Node, int, str]] = {}
    # Of equally promising nodes the deeper one comes first.
    heap = [(bound * (move + push), 0, start)]
    expanded = 0
    while heap and bound < _FAR:
        _, negative, node = heapq.heappop(heap)
        cost = -negative
        if cost > best[node]:
            continue
        player, boxes = node
        if all(box in board.targets for box in boxes):
            return board.solution(before, start, node)
        expanded += 1
        if expanded > max_states:
            raise DataError(
                f"level '{state.level.id}' was not solved within {max_states} states; raise max_states or leave it out."
            )
        distances = board.walk(player, boxes)
        for number, box in enumerate(boxes):
            for direction, stride in board.strides.items():
                walked = distances.get(box - stride)
                beyond = box + stride
                if walked is None or board.distance[beyond] >= _FAR or beyond in boxes:
                    continue
                moved = tuple(sorted((*boxes[:number], *boxes[number + 1 :], beyond)))
                if board.stuck(beyond, moved):
                    continue
                after, price = (box, moved), cost + (walked + 1) * move + push
                if price >= best.get(after, price + 1):
                    continue
                left = board.bound(moved)
                if left >= _FAR:
                    continue
                best[after] = price
                before[after] = (node, box, direction)
                heapq.heappush(heap, (price + left * (move + push), -price, after))
    return None


_Node = tuple[int, tuple[int, ...]]


class _Board:
    """What never changes during a search."""

    def __init__(self, state: State) -> None:
        width = state.level.width
        self.strides = strides(width)
        self.walls = frozenset(cell for cell, code in enumerate(state.beneath) if code == WALL)
        self.targets = frozenset(cell for cell, code in enumerate(state.beneath) if code == TARGET)
        self._size = len(state.beneath)
        self._by_target = [self._pull(target) for target in sorted(self.targets)]
        self.distance = [min(row[cell] for row in self._by_target) for cell in range(self._size)]
        """Least pushes from each cell to any target, other boxes ignored; `_FAR` on dead squares."""
        self._squares = (0, -1, -width, -width - 1)
        self._width = width
        self.bound = lru_cache(maxsize=None)(self._bound)

    def _pull(self, target: int) -> list[int]:
        """Least pushes from every cell to `target`, by pulling a box away from it."""
        distance = [_FAR] * self._size
        distance[target] = 0
        queue = deque([target])
        while queue:
            cell = queue.popleft()
            for stride in self.strides.values():
                origin, stand = cell - stride, cell - 2 * stride
                if origin in self.walls or stand in self.walls or distance[origin] < _FAR:
                    continue
                distance[origin] = distance[cell] + 1
                queue.append(origin)
        return distance

    def _bound(self, boxes: tuple[int, ...]) -> int:
        """A lower bound of the pushes left: the cheapest assignment of boxes to targets."""
        if len(boxes) > _MATCHED_BOXES:
            return min(sum(self.distance[box] for box in boxes), _FAR)
        cheapest = {0: 0}
        for box in boxes:
            grown: dict[int, int] = {}
            for taken, cost in cheapest.items():
                for number, row in enumerate(self._by_target):
                    if not taken >> number & 1 and row[box] < _FAR:
                        key = taken | 1 << number
                        grown[key] = min(grown.get(key, _FAR), cost + row[box])
            cheapest = grown
        return min(cheapest.values(), default=_FAR)

    def stuck(self, box: int, boxes: tuple[int, ...]) -> bool:
        """Whether the box just pushed fills a 2x2 block of walls and boxes that holds a box off target for ever."""
        for corner in self._squares:
            top = box + corner
            block = (top, top + 1, top + self._width, top + self._width + 1)
            held = [cell for cell in block if cell in boxes]
            if all(cell in self.walls or cell in boxes for cell in block) and not self.targets.issuperset(held):
                return True
        return False

    def walk(self, player: int, boxes: tuple[int, ...]) -> dict[int, int]:
        """Steps to every cell the player can reach."""
        return walk_distances(player, self.walls, boxes, tuple(self.strides.values()))

    def solution(self, before: dict[_Node, tuple[_Node, int, str]], start: _Node, node: _Node) -> Solution:
        """The path to `node`, walks included."""
        parts = list[tuple[str, ...]]()
        while node != start:
            node, box, direction = before[node]
            way = walk_path(self.walk(*node), box - self.strides[direction], self.strides)
            parts.append((*way, direction))
        return Solution(tuple(step for part in reversed(parts) for step in part), len(parts))


def walk_distances(player: int, walls: Container[int], boxes: Container[int], steps: tuple[int, ...]) -> dict[int, int]:
    """Steps from `player` to every cell that can be reached without pushing."""
    distances = {player: 0}
    queue = deque([player])
    while queue:
        cell = queue.popleft()
        ahead = distances[cell] + 1
        for stride in steps:
            other = cell + stride
            if other not in distances and other not in walls and other not in boxes:
                distances[other] = ahead
                queue.append(other)
    return distances


def walk_path(distances: dict[int, int], goal: int, directions: dict[str, int]) -> list[str]:
    """Directions of a shortest walk to `goal`, found backwards in `walk_distances`."""
    path = list[str]()
    while left := distances[goal]:
        name = next(name for name, stride in directions.items() if distances.get(goal - stride) == left - 1)
        goal -= directions[name]
        path.append(name)
    return path[::-1]
