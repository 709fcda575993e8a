import random
from pathlib import Path

import pytest

from himac.envs.alfworld.benchmark import BUILTIN_DIR
from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.expert import achieved, demonstrate, next_action, parse_instruction, plan
from himac.envs.alfworld.games import Game, load_games
from himac.envs.alfworld.prior import Prior, learn_prior
from himac.envs.alfworld.view import View, ViewWrapper, compact, start_text
from himac.errors import DataError
from himac.types import Demonstration, Task

ROOM = "room: cabinet 2, countertop 1, fridge 1, garbagecan 1, microwave 1, sinkbasin 1"
PRIOR = Prior({"apple": {"fridge": 0.4, "countertop": 0.3, "garbagecan": 0.2, "cabinet": 0.1}})


@pytest.fixture(scope="module")
def games() -> list[Game]:
    return load_games(BUILTIN_DIR, "valid-medium")


@pytest.fixture(scope="module")
def prior() -> Prior:
    return learn_prior(load_games(BUILTIN_DIR, "train-medium")[:300])


def play(game: Game, prior: Prior, view: View = "compact", **options: object) -> Demonstration:
    task = Task(game.id, game.task_type, {"game": game.id})
    env = ViewWrapper(AlfworldEnv([game]), view)
    return demonstrate(env, task, random.Random(game.id), prior, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("put a apple in garbagecan.", ("apple", "garbagecan", None, False, 1)),
        ("put some apple on garbagecan", ("apple", "garbagecan", None, False, 1)),
        ("put a hot apple in fridge", ("apple", "fridge", "heat", False, 1)),
        ("cool some apple and put it in microwave", ("apple", "microwave", "cool", False, 1)),
        ("find two pen and put them in drawer", ("pen", "drawer", None, False, 2)),
        ("examine the mug with the desklamp", ("mug", "desklamp", None, True, 1)),
    ],
)
def test_parse_instruction(instruction: str, expected: tuple[object, ...]) -> None:
    goal = parse_instruction(instruction)
    assert goal is not None
    assert (goal.thing, goal.place, goal.change, goal.lamp, goal.count) == expected


def test_free_text_is_not_understood() -> None:
    assert parse_instruction("Chill a slice of tomato.") is None
    assert plan("Chill a slice of tomato.", ROOM, PRIOR) == ()


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        # The garbage can is the goal and so no place to look for an apple that is not there yet.
        ("put a apple in garbagecan", ("take apple (look in fridge, countertop, cabinet)", "put apple in garbagecan")),
        (
            "put a clean apple in garbagecan",
            (
                "take apple (look in fridge, countertop, garbagecan)",
                "clean apple with sinkbasin",
                "put apple in garbagecan",
            ),
        ),
        (
            "put two apple in fridge",
            (
                "take apple (look in countertop, garbagecan, cabinet)",
                "put apple in fridge",
                "take another apple (look in countertop, garbagecan, cabinet)",
                "put apple in fridge",
            ),
        ),
    ],
)
def test_plan(instruction: str, expected: tuple[str, ...]) -> None:
    assert plan(instruction, ROOM, PRIOR) == expected


@pytest.mark.parametrize(
    ("subgoal", "start", "turns", "expected"),
    [
        ("take apple (look in fridge)", ROOM, [], "go to fridge 1"),
        ("take apple (look in fridge)", ROOM, [("go to fridge 1", "fridge 1: closed")], "open fridge 1"),
        # The receptacle stands where the agent is: examined instead.
        ("take apple (look in fridge)", ROOM, [("go to fridge 1", "Nothing happens.")], "examine fridge 1"),
        # Listed types first, then the others, those with the fewest receptacles first.
        ("take apple (look in fridge)", ROOM, [("go to fridge 1", "fridge 1: egg 1")], "go to countertop 1"),
        ("take apple (look in fridge)", ROOM, [("go to fridge 1", "fridge 1: apple 2")], "take apple 2 from fridge 1"),
        # Seen at once in the start observation.
        ("take apple (look in fridge)", f"{ROOM}\ncabinet 2: apple 1", [], "take apple 1 from cabinet 2"),
        # Neither the one put down nor the place it was put.
        (
            "take another apple (look in fridge, cabinet)",
            f"{ROOM}\nYou move the apple 1 to the fridge 1.",
            [("go to fridge 1", "fridge 1: apple 1")],
            "go to cabinet 1",
        ),
        # A shown mistake changes nothing.
        ("take apple (look in fridge)", ROOM, [("take mug 4 from fridge 1", "Nothing happens.")], "go to fridge 1"),
        # A detour does not make the expert forget what it saw.
        (
            "take apple (look in fridge)",
            ROOM,
            [("go to fridge 1", "fridge 1: apple 2"), ("go to cabinet 1", "cabinet 1: closed")],
            "go to fridge 1",
        ),
        (
            "take apple (look in fridge)",
            ROOM,
            [("take apple 2 from fridge 1", "You pick up the apple 2 from the fridge 1.")],
            None,
        ),
        ("cool apple with fridge", "You pick up the apple 2 from the fridge 1.", [], "cool apple 2 with fridge 1"),
        ("cool apple with fridge", "You pick up the apple 2 from the cabinet 1.", [], "go to fridge 1"),
        ("put apple in fridge", "You cool the apple 2 using the fridge 1.", [], "move apple 2 to fridge 1"),
        (
            "put apple in fridge",
            "You cool the apple 2 using the fridge 1.",
            [("move apple 2 to fridge 1", "Nothing happens.")],
            "open fridge 1",
        ),
        (
            "put apple in fridge",
            "You pick up the apple 2 from the cabinet 1.",
            [("go to fridge 1", "fridge 1: closed")],
            "open fridge 1",
        ),
        (
            "use desklamp (look in desk)",
            "room: desk 1\nYou pick up the pen 1 from the desk 1.",
            [("go to desk 1", "Nothing happens."), ("examine desk 1", "desk 1: desklamp 1")],
            "use desklamp 1",
        ),
        ("dance", ROOM, [], None),
    ],
)
def test_next_action(subgoal: str, start: str, turns: list[tuple[str, str]], expected: str | None) -> None:
    assert next_action(subgoal, start, turns) == expected


def test_expert_wins_and_closes_every_subgoal_but_the_last(games: list[Game], prior: Prior) -> None:
    for game in games[::4]:
        demo = play(game, prior)
        assert demo.success, game.id
        assert demo.observation.startswith("room: ")
        assert not demo.instruction.endswith(".")
        *others, last = demo.segments
        for segment in others:
            assert segment.turns[-1].sub_done
            assert segment.turns[-1].action is None
            assert segment.turns[-1].observation == ""
            assert achieved(segment.subgoal, segment.turns[-2].observation)
        assert last.turns[-1].action is not None
        assert all(turn.train for segment in demo.segments for turn in segment.turns)


@pytest.mark.parametrize("view", ["compact", "full"])
def test_decisions_follow_from_the_segment_alone(games: list[Game], prior: Prior, view: View) -> None:
    """Every imitated reply, mistakes around it or not, is what `next_action` says of the segment so far."""
    mistakes = 0
    for game in games[::8]:
        demo = play(game, prior, noise=0.3, hint_noise=0.5, view=view)
        overview = compact(demo.observation)
        last = demo.observation
        for segment in demo.segments:
            assert segment.start == start_text(segment.subgoal, overview, last)
            trail: list[tuple[str, str]] = []
            for turn in segment.turns:
                if turn.train:
                    assert turn.action == next_action(segment.subgoal, segment.start, trail)
                mistakes += not turn.train
                if turn.action is not None:
                    trail.append((turn.action, turn.observation))
                    last = turn.observation
    assert mistakes > 20


def test_both_views_play_the_same_game(games: list[Game], prior: Prior) -> None:
    for game in games[:12]:
        short, full = (play(game, prior, view=view) for view in ("compact", "full"))
        actions = [[turn.action for s in demo.segments for turn in s.turns] for demo in (short, full)]
        assert actions[0] == actions[1]


def test_noise_does_not_keep_the_expert_from_winning(games: list[Game], prior: Prior) -> None:
    assert sum(play(game, prior, noise=0.15).success for game in games[::4]) >= 49  # of 50


def test_mistakes_leave_the_world_as_it_was(games: list[Game], prior: Prior) -> None:
    harmless = ("go to ", "look", "inventory")
    for game in games[::8]:
        for segment in play(game, prior, noise=0.4).segments:
            for turn in segment.turns:
                if not turn.train:
                    assert turn.action is not None
                    assert turn.observation == "Nothing happens." or turn.action.startswith(harmless)


def test_hint_noise_changes_only_the_places(games: list[Game], prior: Prior) -> None:
    room = "room: bed 1, cabinet 1, desk 1, drawer 4, shelf 2, sidetable 1"
    plans = {plan("put a pen in bed", room, prior, random.Random(seed), 1.0) for seed in range(30)}
    assert len(plans) > 5
    assert {(p[0].split(" (")[0], p[1]) for p in plans} == {("take pen", "put pen in bed")}
    assert all(len(p[0].split("look in ")[1].split(", ")) == 3 for p in plans)


def test_prior_counts_per_receptacle_and_halves_closed_ones() -> None:
    def game(lies: str) -> Game:
        problem = (
            "(:init (receptacleType Desk_bar_1 DeskType) (receptacleType Drawer_bar_1 DrawerType)"
            " (receptacleType Drawer_bar_2 DrawerType) (openable Drawer_bar_1) (openable Drawer_bar_2)"
            f" (objectType Pen_bar_1 PenType) (inReceptacle Pen_bar_1 {lies})) (:goal (objectType ?o PenType))"
        )
        return Game(lies, "pick_and_place_simple", "", problem)

    prior = learn_prior([game("Desk_bar_1"), game("Drawer_bar_2")])
    # Desk: 1 pen in 2 desks. Drawer: 1 pen in 4 drawers, halved because drawers are closed.
    assert prior.chances == {"pen": {"desk": 0.5, "drawer": 0.125}}
    assert prior.rank("pen", ["bed", "drawer", "desk"]) == ["desk", "drawer", "bed"]
    assert Prior.from_json(prior.to_json()) == prior
    with pytest.raises(DataError, match="write it anew"):
        Prior.from_json("[]")


def test_official_games(shared_dir: Path) -> None:
    data = shared_dir / "data" / "alfworld"
    prior = learn_prior(load_games(data, "valid_train"))
    games = load_games(data, "valid_seen")[::3]
    assert sum(play(game, prior).success for game in games) >= len(games) - 1
