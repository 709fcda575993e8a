"""What random moves solve, and how many held-out levels have a twin in training: `python benchmarks/sokoban_levels.py`.

A twin is the same puzzle, up to rotation and reflection, with the player on another cell that reaches the same ones.
"""

import random

from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.envs.sokoban.level import WALL, Level
from himac.envs.sokoban.levels import BUILTIN_SETS
from himac.envs.sokoban.solver import walk_distances
from himac.envs.sokoban.state import DIRECTIONS, State, strides

EPISODES = 20


def puzzle(level: Level) -> tuple[tuple[tuple[bool, ...], ...], ...]:
    """Walls, boxes, targets and what the player reaches, the same for every rotation and reflection."""
    state = State(level)
    walls = {cell for cell, code in enumerate(state.beneath) if code == WALL}
    steps = tuple(strides(level.width).values())
    reach = {state.player, *walk_distances(state.player, sorted(walls), state.boxes(), steps)}
    layers = (walls, set(state.boxes()), set(state.targets()), reach)
    cells = [tuple(cell in layer for layer in layers) for cell in range(level.height * level.width)]
    board = [tuple(cells[row * level.width : (row + 1) * level.width]) for row in range(level.height)]
    seen = []
    for _ in range(4):
        board = list(zip(*board[::-1], strict=True))
        seen += [tuple(board), tuple(row[::-1] for row in board)]
    return min(seen)


def solved_by_chance(benchmark: SokobanBenchmark, split: str) -> float:
    """Share of episodes of evenly drawn moves that end in success."""
    env, rng, won = benchmark.make_env(), random.Random(0), 0
    tasks = benchmark.tasks(split)
    for task in tasks:
        for _ in range(EPISODES):
            env.reset(options=dict(task.options))
            won += any(env.step(rng.choice(tuple(DIRECTIONS)))[2] for _ in range(benchmark.step_limit))
    return won / (EPISODES * len(tasks))


def main() -> None:
    """Print a line a set and split."""
    for name in BUILTIN_SETS:
        benchmark = SokobanBenchmark(f"builtin:{name}")
        known = {puzzle(level) for level in benchmark.levels("train")}
        for split in ("valid", "test"):
            levels = benchmark.levels(split)
            twins = sum(puzzle(level) in known for level in levels)
            chance = solved_by_chance(benchmark, split)
            print(f"{name} {split}: {chance:.1%} by random moves, {twins} of {len(levels)} with a twin in training")


if __name__ == "__main__":
    main()
