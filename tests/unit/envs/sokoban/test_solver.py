"""The solver against exhaustive search over single moves on small boards, solvable or not."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path

import pytest

from himac.envs.sokoban.generator import Scale, generate_levels
from himac.envs.sokoban.level import Level, make_level
from himac.envs.sokoban.levels import load_levels
from himac.envs.sokoban.solver import solve
from himac.envs.sokoban.state import State
from himac.errors import DataError

STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def random_board(rng: random.Random, boxes: int) -> Level:
    height, width = rng.randint(5, 6), rng.randint(5, 6)
    inside = [(row, column) for row in range(1, height - 1) for column in range(1, width - 1)]
    symbols = "@" + "$" * boxes + "." * boxes
    symbols += "".join("#" if rng.random() < 0.15 else " " for _ in range(len(inside)))
    chosen = dict(zip(rng.sample(inside, len(inside)), symbols, strict=False))
    rows = ["".join(chosen.get((row, column), "#") for column in range(width)) for row in range(height)]
    return make_level("random", rows)


def exhaustive(level: Level, pushes_first: bool) -> tuple[int, int] | None:
    """(moves, pushes) of an optimal solution by Dijkstra with unit costs, written without the engine."""
    free = {(r, c) for r, row in enumerate(level.rows) for c, symbol in enumerate(row) if symbol != "#"}
    targets = frozenset((r, c) for r, c in free if level.rows[r][c] in ".*+")
    start = next((r, c) for r, c in free if level.rows[r][c] in "@+")
    boxes = frozenset((r, c) for r, c in free if level.rows[r][c] in "$*")
    best = {(start, boxes): (0, 0)}
    queue = deque([(start, boxes)])
    # Label-correcting: a state is queued again whenever its cost falls, so no order has to be trusted.
    while queue:
        player, placed = queue.popleft()
        first, second = best[player, placed]
        for down, right in STEPS:
            cell, beyond = (player[0] + down, player[1] + right), (player[0] + 2 * down, player[1] + 2 * right)
            pushed = cell in placed
            if cell not in free or (pushed and (beyond not in free or beyond in placed)):
                continue
            after = (cell, (placed - {cell}) | {beyond} if pushed else placed)
            cost = (first + pushed, second + 1) if pushes_first else (first + 1, second + pushed)
            if cost < best.get(after, (10**6, 0)):
                best[after] = cost
                queue.append(after)
    found = min((cost for (_, placed), cost in best.items() if placed == targets), default=None)
    return found if found is None or not pushes_first else (found[1], found[0])


@pytest.mark.parametrize("boxes", [1, 2])
def test_optimal_lengths_are_those_of_exhaustive_search(boxes: int) -> None:
    rng = random.Random(boxes)
    solvable = 0
    # Random boards are mostly hopeless; generated ones have solutions.
    generated = generate_levels(12, Scale(5, 6, boxes, min_moves=4), seed=boxes)
    levels = [*generated, *(random_board(rng, boxes) for _ in range(12))]
    for level in levels:
        for objective in ("moves", "pushes"):
            solution = solve(level, objective)
            expected = exhaustive(level, objective == "pushes")
            assert (solution and (solution.moves, solution.pushes)) == expected, level.rows
            if solution is not None:
                state = State(level)
                assert sum(state.move(step)[1] for step in solution.path) == solution.pushes
                assert state.won
        solvable += solution is not None
    assert 12 <= solvable < len(levels)


def test_fewest_moves_and_fewest_pushes_differ() -> None:
    pairs = [(solve(level), solve(level, "pushes")) for level in generate_levels(60, Scale(7, 7, 2, 10), seed=3)]
    solved = [(short, few) for short, few in pairs if short and few]
    assert all(short.moves <= few.moves and few.pushes <= short.pushes for short, few in solved)
    assert any(short.moves < few.moves for short, few in solved)


def test_seven_boxes_use_the_other_bound() -> None:
    rows = ["#########", *(f"#{'@' if number == 0 else ' '} $.    #" for number in range(7)), "#########"]
    solution = solve(make_level("seven", rows))
    assert solution is not None
    assert solution.pushes == 7


def test_a_solved_level_needs_no_move() -> None:
    solution = solve(make_level("done", ["#####", "#@* #", "#####"]))
    assert solution is not None
    assert solution.path == ()


def test_gives_up_at_the_limit() -> None:
    level = make_level("wide", ["########", "#      #", "# $ $  #", "#  @   #", "#  .  .#", "########"])
    with pytest.raises(DataError, match="within 2 states"):
        solve(level, max_states=2)


def test_boxoban_levels_are_solved(shared_dir: Path) -> None:
    levels = load_levels(shared_dir / "data" / "boxoban" / "unfiltered" / "valid")
    solved = 0
    for level in levels[:4]:
        try:
            solution = solve(level, "pushes", max_states=1500)
        except DataError:
            continue
        assert solution is not None
        state = State(level)
        for step in solution.path:
            state.move(step)
        assert state.won
        solved += 1
    assert solved >= 1
