import re

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.envs.alfworld.benchmark import BUILTIN_DIR
from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import Game, load_games
from himac.envs.alfworld.view import ViewWrapper, compact, needs_overview, parse_overview, sight, start_text

ROOM = """-= Welcome to TextWorld, ALFRED! =-

You are in the middle of a room. Looking quickly around you, you see a bed 1, a drawer 10, a drawer 9, a drawer 1, \
a dresser 1, a shelf 2, and a shelf 1.

Your task is to: put a statue in dresser."""


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        (ROOM, "room: bed 1, drawer 10, dresser 1, shelf 2"),
        (
            "You arrive at bed 1. On the bed 1, you see a cellphone 3, and a laptop 1.",
            "bed 1: cellphone 3, laptop 1",
        ),
        ("You arrive at shelf 7. On the shelf 7, you see a statue 1.", "shelf 7: statue 1"),
        ("You arrive at shelf 7. On the shelf 7, you see nothing.", "shelf 7: nothing"),
        ("You arrive at drawer 10. The drawer 10 is closed.", "drawer 10: closed"),
        ("The drawer 10 is closed.", "drawer 10: closed"),
        (
            "You open the drawer 2. The drawer 2 is open. In it, you see a cellphone 2.",
            "drawer 2: cellphone 2",
        ),
        ("You arrive at drawer 2. The drawer 2 is open. In it, you see nothing.", "drawer 2: nothing"),
        ("The drawer 2 is open. In it, you see a pen 1, a cd 2, and a cd 1.", "drawer 2: pen 1, cd 2, cd 1"),
        ("On the desk 1, you see a mug 1.", "desk 1: mug 1"),
    ],
)
def test_compact_shortens(feedback: str, expected: str) -> None:
    assert compact(feedback) == expected
    assert compact(expected) == expected


@pytest.mark.parametrize(
    "feedback",
    [
        "Nothing happens.",
        "You pick up the statue 1 from the shelf 7.",
        "You close the drawer 9.",
        "You are facing the desk 1. Next to it, you see nothing.",
        "You are in the middle of a room. Looking quickly around you, you see nothing.",
        "This is a normal pan 2. In it, you see nothing.",
        "You are carrying: a statue 1.",
        "",
    ],
)
def test_compact_leaves_the_rest(feedback: str) -> None:
    assert compact(feedback) == feedback
    assert sight(feedback) is None


@given(st.text() | st.text(alphabet="Youarive t.,bed1O nThs :").map(lambda text: "On the " + text))
def test_compact_never_raises(text: str) -> None:
    assert isinstance(compact(text), str)


def test_sight_reads_both_views() -> None:
    raw = "You open the fridge 1. The fridge 1 is open. In it, you see a egg 2, and a apple 1."
    found = sight(raw)
    assert found is not None
    assert (found.place, found.closed, found.things) == ("fridge 1", False, ("egg 2", "apple 1"))
    assert sight(compact(raw)) == found


def test_overview_from_raw_and_compact_text() -> None:
    expected = {"bed": 1, "drawer": 10, "dresser": 1, "shelf": 2}
    assert parse_overview(ROOM) == expected
    assert parse_overview(compact(ROOM)) == expected
    assert parse_overview("room: bed 1, shelf 2\nYou pick up the pen 1 from the bed 1.") == {"bed": 1, "shelf": 2}
    assert parse_overview("shelf 7: statue 1") == {}


@pytest.mark.parametrize(
    ("subgoal", "needed"),
    [
        ("take apple (look in fridge)", True),
        ("use desklamp (look in desk)", True),
        ("find an apple", True),
        ("", True),
        ("put apple in fridge", False),
        ("clean apple with sinkbasin", False),
        ("Heat apple with microwave", False),
    ],
)
def test_needs_overview(subgoal: str, needed: bool) -> None:
    assert needs_overview(subgoal) is needed


@pytest.mark.parametrize("first", [ROOM, compact(ROOM)])
def test_start_text(first: str) -> None:
    overview = compact(ROOM)
    moved = "You move the pen 1 to the bed 1."
    assert start_text("take pen (look in bed)", overview, first) == overview
    assert start_text("take another pen (look in bed)", overview, moved) == f"{overview}\n{moved}"
    assert start_text("put pen in bed", overview, moved) == moved


def test_compact_agrees_with_the_environment_on_every_receptacle() -> None:
    """Each receptacle's short text names exactly the state's contents."""
    env = AlfworldEnv(_builtin())
    for index in range(12):
        room, info = env.reset(options={"game": index})
        kinds = parse_overview(compact(room))
        assert sum(kinds.values()) == len(env.world.receptacles)
        for command in [c for c in info["admissible_commands"] if c.startswith("go to ")]:
            place = command.removeprefix("go to ")
            feedback, *_, after = env.step(command)
            if after["invalid"]:
                feedback, *_ = env.step(f"examine {place}")
            number = env.world.receptacles.index(place)
            held = [env.world.objects[thing] for thing in env.state.contents[number]]
            hidden = env.world.openable[number]
            assert compact(feedback) == f"{place}: " + ("closed" if hidden else ", ".join(held) or "nothing")


def test_wrapper_shows_the_view() -> None:
    games = _builtin()
    plain, short = AlfworldEnv(games), ViewWrapper(AlfworldEnv(games), "compact")
    full = ViewWrapper(AlfworldEnv(games), "full")
    assert isinstance(short, gymnasium.Env)
    options = {"game": games[0].id}
    raw, _ = plain.reset(options=options)
    text, info = short.reset(options=options)
    same, same_info = full.reset(options=options)
    assert text == info["overview"] == same_info["overview"] == compact(raw)
    assert same == raw
    assert info["instruction"] == games[0].instruction
    assert not info["instruction"].endswith(".")
    place = next(iter(parse_overview(text))) + " 1"
    raw_step, short_step = plain.step(f"go to {place}"), short.step(f"go to {place}")
    assert short_step[0] == compact(raw_step[0])
    assert re.match(rf"{place}: ", short_step[0])
    assert short_step[1:] == raw_step[1:]


def _builtin() -> list[Game]:
    return load_games(BUILTIN_DIR, "valid-small")
