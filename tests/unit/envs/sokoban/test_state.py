"""Every recorded step of the original, and properties of random play."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.envs.sokoban.env import ORIGINAL_ACTIONS, SokobanEnv
from himac.envs.sokoban.generator import Scale, generate_level
from himac.envs.sokoban.level import SYMBOLS, make_level
from himac.envs.sokoban.levels import BUILTIN_DIR, load_levels
from himac.envs.sokoban.state import DIRECTIONS, State
from support.golden import Trail, cases, shipped


def board(room_fixed: list[str], room_state: list[str]) -> list[str]:
    """The text form of a recorded room."""
    return [
        "".join("+" if (code, below) == ("5", "2") else SYMBOLS[int(code)] for code, below in zip(*pair, strict=True))
        for pair in zip(room_state, room_fixed, strict=True)
    ]


@pytest.mark.parametrize(("name", "count"), [("sokoban_episodes", 150), ("sokoban_boxoban", 100)])
def test_every_recorded_step(shared_dir: Path, name: str, count: int) -> None:
    records = cases(shared_dir, name)
    assert len(records) == count
    for record in records:
        rows = board(record["room_fixed"], record["room_state"])
        assert rows == record.get("level", rows)
        env = SokobanEnv([make_level(str(record["id"]), rows)], actions="original", max_steps=record["max_steps"])
        env.reset()
        assert env.state.player == place(record)
        for number, step in enumerate(record["steps"]):
            action = step["action"] if number % 2 else ORIGINAL_ACTIONS[step["action"]]
            _, reward, terminated, truncated, info = env.step(action)
            where = (name, record["id"], number)
            assert "".join(step["room_state"]) == "".join(map(str, env.state.cells)), where
            assert (env.state.player, ORIGINAL_ACTIONS[step["action"]]) == (place(step, env), step["action_name"])
            assert reward == pytest.approx(step["reward"], abs=1e-12), where
            # The original has one `done`; a solved level keeps it set, a used-up limit sets it once.
            assert (terminated or truncated) == step["done"], where
            if step["done"]:
                assert terminated == step["all_boxes_on_target"], where
            assert (info["moved_player"], info["moved_box"]) == (step["moved_player"], step["moved_box"])
            assert info["boxes_on_target"] == step["boxes_on_target"]
            assert info["invalid"] == (step["action"] != 0 and not step["moved_player"])


def test_built_in_levels_play_as_in_the_original() -> None:
    """Rooms, rewards, ends and moves of 900 levels, as gym-sokoban's digests have them."""
    levels = {level.id: level for level in load_levels(BUILTIN_DIR)}
    records, won, pushed_off = shipped("sokoban"), 0, 0
    for record in records:
        env, trail = SokobanEnv([levels[record["id"]]], actions="original", max_steps=record["max_steps"]), Trail()
        env.reset()
        trail.add(cells(env), None)
        for digit in record["actions"]:
            covered = env.state.covered
            _, reward, terminated, truncated, info = env.step(int(digit))
            done = terminated or truncated
            trail.add(
                cells(env),
                env.state.player,
                round(reward, 6),
                done,
                terminated if done else None,
                info["moved_player"],
                info["moved_box"],
                info["boxes_on_target"],
            )
            pushed_off += info["boxes_on_target"] < covered
        won += terminated
        trail.assert_equal(record, ["reset", *record["actions"]])
    assert len(records) == 900
    assert won > 300
    assert pushed_off > 10


def cells(env: SokobanEnv) -> str:
    return "".join(map(str, env.state.cells))


def place(record: dict[str, Any], env: SokobanEnv | None = None) -> int:
    width = env.state.level.width if env else len(record["room_state"][0])
    row, column = record["player"]
    return row * width + column


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), boxes=st.integers(1, 3))
def test_random_play_keeps_the_rules(seed: int, boxes: int) -> None:
    rng = random.Random(seed)
    state = State(generate_level(rng, Scale(6, 7, boxes)))
    for _ in range(60):
        before, direction, push = bytes(state.cells), rng.choice(DIRECTIONS), rng.random() < 0.8
        promised, pushes = state.allows(direction, push), push and state.pushes(direction)
        assert state.move(direction, push) == (promised, pushes)
        assert (bytes(state.cells) != before) == promised
        assert len(state.boxes()) == boxes
        assert state.cells.count(5) == 1
        assert state.cells[state.player] == 5
        assert state.won == (not any(state.cells[target] != 3 for target in state.targets()))


def test_a_box_is_stopped_by_a_wall_and_by_another_box() -> None:
    state = State(make_level("row", ["########", "#@$$ ..#", "#$ #   #", "#.     #", "########"]))
    start = bytes(state.cells)
    assert state.move("right") == (False, False)
    assert state.move("up") == (False, False)
    assert bytes(state.cells) == start
    assert state.move("down", push=False) == (False, False)
    assert state.move("down") == (True, True)
    assert state.reward() == pytest.approx(0.9)
    assert state.covered == 1
    assert state.move("down") == (False, False)
