"""New solvable levels of any size by reverse play: boxes start on their targets and are pulled away from them."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from typing import NamedTuple

from himac.envs.sokoban.level import ON_TARGET, SYMBOLS, Level, canonical, make_level
from himac.envs.sokoban.levels import write_levels
from himac.envs.sokoban.solver import solve, walk_distances
from himac.envs.sokoban.state import strides
from himac.errors import ConfigError, DataError

_TURN_CHANCE = 0.35
_WALK_FACTOR = 1.7
"""Steps of the carving walk for each row and column, and the chance that it turns; the original's values."""
_BRUSHES = (
    ((0, 0), (0, 1), (0, -1)),
    ((0, 0), (1, 0), (-1, 0)),
    ((0, 0), (0, 1), (1, 0)),
    ((0, 0), (0, 1), (1, 0), (1, 1)),
    ((0, 0), (-1, 0), (0, -1)),
)
_ATTEMPTS = 2000
_STARTS = 8
_MAX_STATES = 3000
_SOLVER_STATES = 200_000


class Scale(NamedTuple):
    """What a set of levels is like: its size and the range of the optimal length in moves."""

    height: int = 6
    width: int = 6
    boxes: int = 1
    min_moves: int = 1
    max_moves: int | None = None
    depth: int = 30


DEFAULT_SCALE = Scale()


def generate_level(rng: random.Random, scale: Scale = DEFAULT_SCALE, identifier: str = "level") -> Level:
    """One solvable level with its exact optimal lengths; no box starts on a target.

    Args:
        scale: `depth` bounds the pulls of the reverse play.

    Raises:
        ConfigError: a size below 4 by 4, no box, or a range of moves that no level was found for.
    """
    height, width, boxes = scale.height, scale.width, scale.boxes
    if min(height, width) < 4 or boxes < 1 or scale.depth < 1:
        raise ConfigError(
            f"cannot generate {height}x{width} levels with {boxes} boxes and depth {scale.depth}; "
            "choose at least 4x4, one box and depth 1."
        )
    for _ in range(_ATTEMPTS):
        floor = _carve(rng, height, width)
        if len(floor) < 2 * boxes + 1:
            continue
        targets = tuple(sorted(rng.sample(floor, boxes)))
        starts = _reverse_play(rng, frozenset(floor), targets, width, scale.depth)
        for player, places in rng.sample(starts, min(_STARTS, len(starts))):
            level = make_level(identifier, _draw(height, width, floor, targets, places, player))
            try:
                shortest = solve(level, "moves", _SOLVER_STATES)
                pushing = solve(level, "pushes", _SOLVER_STATES)
            except DataError:
                continue  # too large to solve exactly: another start
            if shortest is None or pushing is None:
                raise AssertionError(f"reverse play made an unsolvable level: {level.rows}")
            if scale.min_moves <= shortest.moves <= (scale.max_moves or shortest.moves):
                return Level(identifier, level.rows, shortest.moves, pushing.pushes)
    raise ConfigError(
        f"found no {height}x{width} level with {boxes} boxes and {scale.min_moves} to {scale.max_moves or 'any'} moves "
        f"in {_ATTEMPTS} rooms; widen the range or the room."
    )


def generate_levels(
    count: int, scale: Scale = DEFAULT_SCALE, seed: int = 0, prefix: str = "level", seen: set[str] | None = None
) -> list[Level]:
    """`count` levels, no two of which are equal up to the symmetries of the board.

    Args:
        seen: Canonical boards to avoid; those of the new levels are added to it.

    Raises:
        ConfigError: so many different levels were not found.
    """
    rng = random.Random(seed)
    known = set[str]() if seen is None else seen
    levels = list[Level]()
    misses = 0
    while len(levels) < count:
        level = generate_level(rng, scale, f"{prefix}-{len(levels):05d}")
        key = canonical(level.rows)
        if key not in known:
            known.add(key)
            levels.append(level)
            misses = 0
        elif (misses := misses + 1) > _ATTEMPTS:
            raise ConfigError(f"found only {len(levels)} different levels of {count}; ask for fewer or larger ones.")
    return levels


def _carve(rng: random.Random, height: int, width: int) -> list[int]:
    """Floor cells, ascending: a random walk from a random cell that carves with random brushes."""
    row, column = rng.randrange(1, height - 1), rng.randrange(1, width - 1)
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    step = rng.choice(steps)
    floor = set[int]()
    for _ in range(int(_WALK_FACTOR * (height + width))):
        if rng.random() < _TURN_CHANCE:
            step = rng.choice(steps)
        row = min(max(row + step[0], 1), height - 2)
        column = min(max(column + step[1], 1), width - 2)
        for down, right in rng.choice(_BRUSHES):
            if 1 <= row + down < height - 1 and 1 <= column + right < width - 1:
                floor.add((row + down) * width + column + right)
    return sorted(floor)


_Start = tuple[int, tuple[int, ...]]


def _reverse_play(
    rng: random.Random, floor: frozenset[int], targets: tuple[int, ...], width: int, depth: int
) -> list[_Start]:
    """(player, boxes) from which pushing can undo at most `depth` pulls; every box is off every target."""
    steps = tuple(strides(width).values())
    walls = _Outside(floor)
    first = rng.choice(sorted(floor.difference(targets)))
    queue: deque[tuple[int, tuple[int, ...], int]] = deque([(first, targets, 0)])
    seen = {(min(walk_distances(first, walls, targets, steps)), targets)}
    starts = list[_Start]()
    while queue and len(seen) < _MAX_STATES:
        player, boxes, pulls = queue.popleft()
        reach = walk_distances(player, walls, boxes, steps)
        if not set(boxes) & set(targets):
            starts.append((rng.choice(sorted(reach)), boxes))
        if pulls == depth:
            continue
        options = [(box, step) for box in boxes for step in steps]
        rng.shuffle(options)
        for box, step in options:
            stand, back = box + step, box + 2 * step
            if stand not in reach or back not in floor or back in boxes:
                continue
            moved = tuple(sorted(stand if other == box else other for other in boxes))
            # The player's component tells states apart, not its cell.
            key = (min(walk_distances(back, walls, moved, steps)), moved)
            if key not in seen:
                seen.add(key)
                queue.append((back, moved, pulls + 1))
    return starts


class _Outside:
    """The complement of the floor, as a container."""

    def __init__(self, floor: frozenset[int]) -> None:
        self._floor = floor

    def __contains__(self, cell: object) -> bool:
        return cell not in self._floor


def _draw(
    height: int, width: int, floor: list[int], targets: tuple[int, ...], boxes: tuple[int, ...], player: int
) -> list[str]:
    cells = ["#"] * (height * width)
    for cell in floor:
        cells[cell] = " "
    for cell in targets:
        cells[cell] = "."
    for cell in boxes:
        cells[cell] = "$"
    cells[player] = ON_TARGET if player in targets else SYMBOLS[-1]
    return ["".join(cells[row * width : (row + 1) * width]) for row in range(height)]


BUILTIN_SCALES = {
    "short": Scale(6, 6, 1, max_moves=10),
    "long": Scale(6, 6, 1, min_moves=8),
    "two": Scale(7, 7, 2, min_moves=8, max_moves=24),
    "three": Scale(7, 7, 3, min_moves=12, max_moves=36),
}
"""The sets that come with the package; `short` is the setting of the published comparisons."""
BUILTIN_COUNTS = {"train": 3000, "valid": 200, "test": 200}
_BUILTIN_SEED = 2026


def builtin_levels() -> dict[str, dict[str, list[Level]]]:
    """Set -> split -> levels; no board is in two places, up to symmetry."""
    seen = set[str]()
    sets = {}
    for name, scale in BUILTIN_SCALES.items():
        levels = generate_levels(sum(BUILTIN_COUNTS.values()), scale, _BUILTIN_SEED, name, seen)
        splits, start = {}, 0
        for split, count in BUILTIN_COUNTS.items():
            splits[split] = [
                Level(f"{name}-{split}-{number:04d}", level.rows, level.moves, level.pushes)
                for number, level in enumerate(levels[start : start + count])
            ]
            start += count
        sets[name] = splits
    return sets


def write_builtin(folder: str | Path) -> None:
    """Write the splits that come with the package; the same bytes each time."""
    for name, splits in builtin_levels().items():
        for split, levels in splits.items():
            write_levels(Path(folder) / f"{split}-{name}.jsonl.xz", levels)
