"""The Gymnasium environment around the engine."""

import random
from typing import Any

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.envs.alfworld import AlfworldEnv
from himac.errors import ConfigError, EnvironmentFailureError
from support.alfworld_problems import game

GAMES = [game(number=number) for number in range(3)]
WIN = [
    "go to countertop 2",
    "take apple 2 from countertop 2",
    "go to microwave 1",
    "open microwave 1",
    "move apple 2 to microwave 1",
]


@pytest.mark.filterwarnings("ignore:.*render modes.*")
def test_gymnasium_accepts_it() -> None:
    check_env(AlfworldEnv(GAMES))


def test_a_won_game_pays_once_and_can_be_played_on() -> None:
    env = AlfworldEnv(GAMES)
    env.reset(options={"game": 0})
    played = [env.step(command) for command in WIN]
    assert [reward for _, reward, *_ in played] == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert [terminated for _, _, terminated, *_ in played] == [False] * 4 + [True]
    assert not any(truncated for *_, truncated, _ in played)
    _, reward, terminated, _, info = env.step("look")
    assert (reward, terminated, info["won"]) == (0.0, True, True)
    env.step("take apple 2 from microwave 1")
    _, reward, terminated, _, _ = env.step("move apple 2 to microwave 1")
    assert (reward, terminated) == (0.0, True)


def test_info() -> None:
    env = AlfworldEnv(GAMES)
    observation, info = env.reset(options={"game": GAMES[1].id})
    assert observation.endswith("Your task is to: do it.")
    assert info == {
        "instruction": "do it",
        "admissible_commands": [
            "go to countertop 1",
            "go to countertop 2",
            "go to fridge 1",
            "go to microwave 1",
            "go to sinkbasin 1",
            "help",
            "inventory",
            "look",
        ],
        "won": False,
        "game": GAMES[1].id,
        "task_type": "pick_and_place_simple",
    }
    *_, info = env.step("look")
    assert info["invalid"] is False
    info["admissible_commands"].clear()
    *_, info = env.step("look")
    assert "go to fridge 1" in info["admissible_commands"]


@pytest.mark.parametrize("action", ["", "Look", "go  to fridge 1", "go to fridge", "take apple 2 from countertop 2"])
def test_what_is_not_admissible_changes_nothing(action: str) -> None:
    env = AlfworldEnv(GAMES)
    _, before = env.reset(options={"game": 0})
    observation, reward, terminated, truncated, info = env.step(action)
    assert (observation, reward, terminated, truncated) == ("Nothing happens.", 0.0, False, False)
    assert info == {**before, "invalid": True}


def test_blanks_around_a_command_do_not_matter() -> None:
    env = AlfworldEnv(GAMES)
    env.reset(options={"game": 0})
    observation, *_, info = env.step("\t go to fridge 1 \n")
    assert observation.startswith("You arrive at fridge 1.")
    assert info["invalid"] is False


def test_the_seed_alone_decides_which_game_is_drawn() -> None:
    def drawn(seed: int) -> list[str]:
        env = AlfworldEnv(GAMES)
        first = env.reset(seed=seed)[1]["game"]
        return [first] + [env.reset()[1]["game"] for _ in range(20)]

    assert drawn(5) == drawn(5) != drawn(6)
    assert set(drawn(5)) == {game.id for game in GAMES}


@pytest.mark.parametrize("options", [{"game": "no such game"}, {"game": 3}, {"game": -1}, {"game": []}, {"gmae": 1}])
def test_options_that_name_no_game_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="game"):
        AlfworldEnv(GAMES).reset(options=options)


def test_misuse_is_explained() -> None:
    with pytest.raises(ConfigError, match="at least one game"):
        AlfworldEnv([])
    with pytest.raises(EnvironmentFailureError, match="call reset first"):
        AlfworldEnv(GAMES).step("look")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=60) | st.sampled_from([*WIN, "use desklamp 1", "look", "help"]), max_size=30))
def test_no_text_whatsoever_raises(actions: list[str]) -> None:
    env = AlfworldEnv(GAMES)
    env.reset(seed=1)
    for action in actions:
        observation, *_, info = env.step(action)
        assert info["invalid"] == (observation == "Nothing happens.")


@pytest.mark.parametrize("kind", ["pick_heat_then_place_in_recep", "look_at_obj_in_light", "pick_two_obj_and_place"])
def test_random_play_keeps_its_promises(kind: str) -> None:
    rng = random.Random(kind)
    env = AlfworldEnv([game(kind)])
    for seed in range(5):
        _, info = env.reset(seed=seed)
        paid = 0.0
        for _ in range(200):
            commands = info["admissible_commands"]
            assert commands == sorted(set(commands))
            observation, reward, terminated, _, info = env.step(rng.choice(commands))
            assert not info["invalid"]
            assert env.observation_space.contains(observation)
            assert terminated == info["won"]
            paid += reward
            held = env.state.held
            everywhere = [thing for contents in env.state.contents for thing in contents]
            assert len(everywhere) == len(set(everywhere)) == (4 if held >= 0 else 5)
        assert paid <= 1.0
