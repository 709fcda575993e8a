"""Plays built-in levels in gym-sokoban and writes digests of what it shows.

`python -m golden.record_sokoban` in tests/. Needs github.com/mpSchrader/gym-sokoban on the path, beside himac (recorded
with 8e06e44, gym 0.26.2, numpy 2.4.6).
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from gym_sokoban.envs.sokoban_env import SokobanEnv

from himac.envs.sokoban.level import Level
from himac.envs.sokoban.levels import BUILTIN_DIR, BUILTIN_SETS, BUILTIN_SPLITS, load_levels
from himac.envs.sokoban.solver import solve
from himac.envs.sokoban.state import DIRECTIONS
from support.golden import Record, Trail, ship

LEVELS = 100
"""Of each built-in file, evenly spread."""
_RANDOM_STEPS = 25
_AFTER_END = 2


def original(level: Level, max_steps: int) -> Any:
    """The original at the start of a level, which it otherwise draws itself."""
    env = SokobanEnv((level.height, level.width), max_steps, level.boxes, reset=False)
    shape = (level.height, level.width)
    env.room_fixed = np.array(list(level.beneath())).reshape(shape)
    env.room_state = np.array(list(level.state())).reshape(shape)
    env.player_position = np.argwhere(env.room_state == 5)[0]
    env.num_env_steps = env.reward_last = env.boxes_on_target = 0
    return env


def choose(level: Level, rng: random.Random) -> list[int]:
    """Random actions, or up to two wasted ones, a shortest solution and what comes after the end."""
    if rng.random() < 0.5:
        return [rng.randrange(9) for _ in range(_RANDOM_STEPS)]
    solution = solve(level)
    assert solution is not None
    path = [1 + DIRECTIONS.index(move) for move in solution.path]
    return [0] * rng.randrange(3) + path + [rng.randrange(9) for _ in range(_AFTER_END)]


def record(level: Level, number: int) -> Record:
    rng = random.Random(number)
    max_steps = rng.randint(5, 40)
    actions = choose(level, rng)
    env, trail = original(level, max_steps), Trail()
    trail.add(_cells(env), None)
    for action in actions:
        _, reward, done, info = env.step(action, observation_mode="raw")
        row, column = env.player_position
        trail.add(
            _cells(env),
            int(row) * level.width + int(column),
            round(float(reward), 6),
            bool(done),
            bool(info["all_boxes_on_target"]) if done else None,
            bool(info["action.moved_player"]),
            bool(info["action.moved_box"]),
            int(env.boxes_on_target),
        )
    return {"id": level.id, "max_steps": max_steps, "actions": "".join(map(str, actions))} | trail.record()


def _cells(env: Any) -> str:
    return "".join(map(str, env.room_state.ravel()))


def main() -> None:
    records = []
    for split in BUILTIN_SPLITS:
        for name in BUILTIN_SETS:
            levels = load_levels(BUILTIN_DIR / f"{split}-{name}.jsonl.xz")
            for level in levels[:: len(levels) // LEVELS][:LEVELS]:
                records.append(record(level, len(records)))
    print(ship("sokoban", records), len(records), sum(len(one["actions"]) for one in records))


if __name__ == "__main__":
    main()
