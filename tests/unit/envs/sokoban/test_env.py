from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check

from himac.envs.check import check_env
from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.generator import Scale, generate_levels
from himac.envs.sokoban.level import make_level
from himac.envs.sokoban.solver import solve
from himac.errors import ConfigError, EnvironmentFailureError

LEVEL = make_level("easy", ["######", "#@ $.#", "#  # #", "######"])
GRID = "######\n#@_$.#\n#__#_#\n######"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"view": "coordinates"},
        {"observation": "image"},
        {"actions": "original"},
        {"render_mode": "rgb_array", "max_steps": 9},
    ],
)
def test_keeps_the_interface(options: dict[str, Any]) -> None:
    levels = generate_levels(4, seed=1)
    gymnasium_check(SokobanEnv(levels, **options), skip_render_check=True)
    if "actions" not in options and "observation" not in options:
        check_env(SokobanEnv(levels, **options), {"level": levels[2].id})


def test_grid_and_coordinates() -> None:
    env = SokobanEnv([LEVEL])
    observation, info = env.reset()
    assert (observation, info["anchor"], info["overview"]) == (GRID, GRID, "")
    env = SokobanEnv([LEVEL], view="coordinates")
    observation, info = env.reset()
    assert observation == "target 14, wall 23, player 11, box 13, move down right, push none"
    assert info["overview"] == "target 14, wall 23"
    assert info["instruction"] == "push the box onto the target"
    observation, *_, info = env.step("right")
    assert observation == "player 12, box 13, move down left, push right"
    assert info["anchor"] == "######\n#_@$.#\n#__#_#\n######"
    assert info["admissible_commands"] == ["down", "left", "right"]


def test_large_boards_name_rows_and_columns() -> None:
    level = make_level("wide", ["#" * 12, "#@$.       #", "#" * 12])
    observation, _ = SokobanEnv([level], view="coordinates").reset()
    assert observation == "target r1c3, wall none, player r1c1, box r1c2, move none, push right"


def test_rewards_and_end() -> None:
    env = SokobanEnv([LEVEL], max_steps=3)
    env.reset()
    assert env.step("right")[1:4] == (pytest.approx(-0.1), False, False)
    observation, reward, terminated, truncated, info = env.step(" Right ")
    assert (reward, terminated, truncated) == (pytest.approx(10.9), True, False)
    assert observation == "######\n#__@*#\n#__#_#\n######"
    assert (info["won"], info["boxes_on_target"]) == (True, 1)
    env.reset()
    assert [env.step("down")[3] for _ in range(4)] == [False, False, True, False]


@pytest.mark.parametrize("action", ["up", "left", "", "fly", "push right", "1", 1, None, "right down"])
def test_invalid_actions_change_nothing(action: Any) -> None:
    env = SokobanEnv([LEVEL])
    env.reset()
    observation, reward, terminated, truncated, info = env.step(action)
    assert (observation, reward, terminated, truncated) == (GRID, pytest.approx(-0.1), False, False)
    assert info["invalid"]
    assert not env.step("down")[4]["invalid"]


def test_original_actions_by_number_and_name() -> None:
    env = SokobanEnv([LEVEL], actions="original")
    env.reset()
    assert not env.step(0)[4]["invalid"]
    assert env.step(np.int64(8))[4]["moved_player"]
    for action in (8, "move right", 9, -1, "right", 1.5):
        info = env.step(action)[4]
        assert info["invalid"]
        assert not info["moved_player"]
    assert env.step("push right")[4]["moved_box"]


def test_a_solution_wins_with_the_published_return() -> None:
    for level in generate_levels(10, Scale(7, 7, 2), seed=2):
        env = SokobanEnv([level])
        env.reset()
        solution = solve(level)
        assert solution is not None
        rewards = [env.step(move)[1] for move in solution.path]
        assert env.state.won
        assert sum(rewards) == pytest.approx(10 + level.boxes - 0.1 * len(rewards))


def test_pictures() -> None:
    env = SokobanEnv([LEVEL], observation="image", render_mode="rgb_array", image_size=64)
    image, _ = env.reset()
    assert env.observation_space.contains(image)
    assert np.array_equal(image, env.render())
    after, *_ = env.step("right")
    assert not np.array_equal(image, after)
    ansi = SokobanEnv([LEVEL], render_mode="ansi")
    ansi.reset()
    assert ansi.render() == GRID
    silent = SokobanEnv([LEVEL])
    silent.reset()
    assert silent.render() is None


def test_levels_are_selected() -> None:
    levels = generate_levels(5, seed=4)
    env = SokobanEnv(levels)
    assert env.reset(options={"level": levels[3].id})[1]["level"] == levels[3].id
    assert env.reset(options={"level": 2})[1]["level"] == levels[2].id
    assert env.reset(seed=7)[1]["level"] == env.reset(seed=7)[1]["level"]
    assert len({env.reset()[1]["level"] for _ in range(40)}) == 5
    for options, message in (
        ({"level": "no"}, "no level id"),
        ({"level": 5}, "no level id"),
        ({"level": -1}, "no level id"),
        ({"level": 1.0}, "no level id"),
        ({"game": 1}, "only option is 'level'"),
    ):
        with pytest.raises(ConfigError, match=message):
            env.reset(options=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "map"}, "no view 'map'"),
        ({"observation": "sound"}, "no observation"),
        ({"actions": "keys"}, "no actions"),
        ({"render_mode": "human"}, "no render_mode"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SokobanEnv([LEVEL], **options)


def test_levels_are_needed_and_pictures_have_one_size() -> None:
    with pytest.raises(ConfigError, match="at least one level"):
        SokobanEnv([])
    mixed = [LEVEL, *generate_levels(1, seed=1)]
    with pytest.raises(ConfigError, match="differ in size"):
        SokobanEnv(mixed, observation="image")
    assert SokobanEnv(mixed, observation="image", image_size=(256, 256)).reset()[0].shape == (256, 256, 3)
    with pytest.raises(EnvironmentFailureError, match="call reset first"):
        SokobanEnv([LEVEL]).step("up")
