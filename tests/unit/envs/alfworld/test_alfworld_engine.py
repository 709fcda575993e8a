"""The rules and texts of the engine: in a small kitchen by hand, and step by step against the original's recordings."""

from pathlib import Path

import pytest

from himac.envs.alfworld import AlfworldEnv, load_games, text
from himac.envs.alfworld.benchmark import BUILTIN_DIR
from himac.envs.alfworld.goals import TASK_TYPES, task_type_of
from himac.envs.alfworld.problem import World, parse_problem
from himac.envs.alfworld.state import State
from himac.errors import DataError
from support.alfworld_problems import GOALS, problem
from support.golden import Trail, cases, shipped


class Player:
    """Plays commands, asserting that each is admissible."""

    def __init__(self, world: World) -> None:
        self.state = State(world)

    def __call__(self, *commands: str) -> str:
        answer = ""
        for command in commands:
            known = self.state.commands()
            assert command in known, f"{command!r} is not among {sorted(known)}"
            answer = self.state.apply(known[command])
        return answer

    def can(self, command: str) -> bool:
        return command in self.state.commands()


def play(kind: str = "pick_and_place_simple", more: str = "", less: str = "") -> Player:
    return Player(parse_problem(problem(kind, more, less)))


def test_every_recorded_step_of_the_original_is_reproduced(shared_dir: Path) -> None:
    steps = 0
    for record in cases(shared_dir, "alfworld"):
        state = State(parse_problem(record["pddl_problem"]))
        commands = state.commands()
        reset = record["reset"]
        where = record["id"]
        assert (where, state.opening(record["task"])) == (where, reset["feedback"])
        assert (where, sorted(commands), state.won()) == (where, reset["admissible"], reset["won"])
        assert task_type_of(record["pddl_problem"]) == record["task_type"]
        for number, step in enumerate(record["steps"] + (record.get("after_done") or [])):
            where = f"{record['id']} step {number}: {step['action']!r}"
            known = commands.get(step["action"].strip())
            assert (where, known is not None) == (where, step["was_admissible"])
            feedback = text.NOTHING_HAPPENS if known is None else state.apply(known)
            commands = state.commands()
            assert (where, feedback) == (where, step["feedback"])
            assert (where, sorted(commands)) == (where, step["admissible"])
            assert (where, state.won(), state.won()) == (where, step["won"], step["done"])
            steps += 1
    assert steps > 900


def test_built_in_games_play_as_in_the_original() -> None:
    """Texts, commands, wins and scores of ten games of each built-in file, as TextWorld's digests have them."""
    records = shipped("alfworld")
    splits = sorted({record["split"] for record in records})
    games = {split: load_games(BUILTIN_DIR, split) for split in splits}
    for record in records:
        env, trail = AlfworldEnv(games[record["split"]]), Trail()
        observation, info = env.reset(options={"game": record["id"]})
        trail.add(observation, info["admissible_commands"], info["won"])
        for action in record["actions"]:
            observation, _, terminated, _, info = env.step(action)
            trail.add(observation, info["admissible_commands"], info["won"], int(info["won"]), terminated)
        trail.assert_equal(record, ["reset", *record["actions"]])
    assert len(records) == 10 * len(splits) == 60
    assert sum(len(record["actions"]) for record in records) > 1000


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        ([], "nothing"),
        (["egg 1"], "a egg 1"),
        (["egg 2", "egg 1"], "a egg 2, and a egg 1"),
        (["a 1", "b 1", "c 1"], "a a 1, a b 1, and a c 1"),
    ],
)
def test_listing(things: list[str], expected: str) -> None:
    assert text.things(things) == expected


def test_names_count_down_in_the_order_of_ids_and_sinks_become_basins() -> None:
    world = parse_problem(problem())
    assert world.objects == ("apple 2", "apple 1", "desklamp 1", "knife 1", "mug 1", "spoon 1", "window 1")
    assert world.receptacles == ("countertop 2", "countertop 1", "fridge 1", "microwave 1", "sinkbasin 1")


def test_opening_lists_receptacles_but_a_later_look_lists_nothing() -> None:
    player = play()
    assert player.state.opening("do it") == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a "
        "countertop 2, a countertop 1, a fridge 1, a microwave 1, and a sinkbasin 1.\n\nYour task is to: do it."
    )
    assert player("look") == "You are in the middle of a room. Looking quickly around you, you see nothing."


def test_opening_in_front_of_a_receptacle_says_what_the_agent_faces() -> None:
    player = play(less="(atLocation agent1 loc_bar_0)", more="(atLocation agent1 loc_bar_2)")
    assert "\n\nYou are facing the fridge 1. Next to it, you see nothing.\n\n" in player.state.opening("x")


def test_no_way_to_go_where_the_agent_is_and_both_neighbours_can_be_examined() -> None:
    player = play()
    answer = player("go to sinkbasin 1")
    assert answer == "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."
    assert not player.can("go to sinkbasin 1")
    assert not player.can("go to countertop 2")  # at the same location
    assert player("examine countertop 2") == (
        "On the countertop 2, you see a apple 2, a desklamp 1, a knife 1, and a mug 1."
    )
    assert player("look") == "You are facing the countertop 2, and sinkbasin 1. Next to it, you see nothing."


def test_closed_receptacles_hide_refuse_and_open() -> None:
    player = play()
    assert player("go to fridge 1") == "You arrive at fridge 1. The fridge 1 is closed."
    assert not player.can("take apple 1 from fridge 1")
    assert player("open fridge 1") == "You open the fridge 1. The fridge 1 is open. In it, you see a apple 1."
    assert not player.can("open fridge 1")
    assert player("take apple 1 from fridge 1") == "You pick up the apple 1 from the fridge 1."
    assert player("inventory") == "You are carrying: a apple 1."
    assert player("close fridge 1") == "You close the fridge 1."
    assert not player.can("move apple 1 to fridge 1")
    assert player("open fridge 1", "move apple 1 to fridge 1") == "You move the apple 1 to the fridge 1."
    assert player("inventory") == "You are not carrying anything."


def test_one_thing_at_a_time_only_where_it_fits_and_examined_only_when_held() -> None:
    player = play()
    player("go to countertop 2")
    assert not player.can("examine apple 2")
    assert not player.can("take desklamp 1 from countertop 2")  # cannot be picked up
    player("take mug 1 from countertop 2")
    assert not player.can("take apple 2 from countertop 2")
    assert not player.can("move mug 1 to sinkbasin 1")
    assert player("examine mug 1") == "This is a normal mug 1. In it, you see a spoon 1."


def test_treatments_need_the_appliance_but_not_its_door() -> None:
    player = play()
    player("go to countertop 2", "take apple 2 from countertop 2")
    assert player("examine apple 2") == "There's nothing special about apple 2."
    assert player("clean apple 2 with sinkbasin 1") == "You clean the apple 2 using the sinkbasin 1."
    assert player("examine apple 2") == "This is a clean apple 2."
    player("go to microwave 1")
    assert player("heat apple 2 with microwave 1") == "You heat the apple 2 using the microwave 1."
    assert player("examine apple 2") == "This is a hot and clean apple 2."
    player("go to fridge 1")
    assert player("cool apple 2 with fridge 1") == "You cool the apple 2 using the fridge 1."
    assert player("examine apple 2") == "This is a cool and clean apple 2."
    player("go to microwave 1", "heat apple 2 with microwave 1")
    assert player("examine apple 2") == "This is a hot and clean apple 2."


def test_slicing_and_lamps() -> None:
    player = play()
    player("go to countertop 2")
    assert not player.can("slice apple 2 with knife 1")
    player("take knife 1 from countertop 2")
    assert player("slice apple 2 with knife 1") == "You sliced the apple 2 with the knife 1."
    assert player.can("slice apple 2 with knife 1")
    assert player("use desklamp 1") == player("use desklamp 1") == "You turn on the desklamp 1."
    player("move knife 1 to countertop 2", "take apple 2 from countertop 2")
    assert player("examine apple 2") == "This is a sliced apple 2."
    assert player("clean apple 2 with sinkbasin 1", "examine apple 2") == "This is a clean sliced apple 2."


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"clean", "hot", "sliced"}, "This is a hot and clean sliced x 1."),
        ({"clean", "cool", "sliced"}, "This is a cool and clean sliced x 1."),
        ({"hot", "sliced"}, "This is a hot sliced x 1."),
        ({"cool", "sliced"}, "This is a cool sliced x 1."),
        ({"hot", "lit"}, "This is a hot x 1."),
        ({"cool"}, "This is a cold x 1."),
        ({"lit"}, "This x 1 is on."),
        ({"sliced"}, "There's nothing special about x 1."),
    ],
)
def test_condition_follows_the_order_of_the_original_rules(state: set[str], expected: str) -> None:
    flags = {name: name in state for name in ("clean", "hot", "cool", "sliced", "lit", "sliceable")}
    assert text.condition("x 1", **flags) == expected


def test_a_thing_moved_to_a_neighbour_seems_to_lie_on_the_floor() -> None:
    player = play()
    player("go to countertop 2", "take apple 2 from countertop 2", "move apple 2 to sinkbasin 1")
    assert player("look") == "You are facing the countertop 2, and sinkbasin 1. Next to it, you see a apple 2."
    player("take apple 2 from sinkbasin 1", "move apple 2 to countertop 2")
    # It left the sink in turn, so it still seems to lie there, though the counter has it back.
    assert player("look") == "You are facing the countertop 2, and sinkbasin 1. Next to it, you see a apple 2."
    assert player("examine sinkbasin 1") == "On the sinkbasin 1, you see nothing."


def test_a_thing_in_two_receptacles_can_be_taken_from_both() -> None:
    player = play(more="(inReceptacle Apple_bar_1 Microwave_bar_1)")
    player("go to countertop 2", "take apple 2 from countertop 2", "go to microwave 1")
    assert player("open microwave 1").endswith("In it, you see a apple 2.")
    player("move apple 2 to countertop 1")
    assert player("take apple 2 from microwave 1", "inventory") == "You are carrying: a apple 2."


FETCH = ("go to countertop 2", "take apple 2 from countertop 2")
WINNING = {
    "pick_and_place_simple": (*FETCH, "go to microwave 1", "open microwave 1", "move apple 2 to microwave 1"),
    "pick_clean_then_place_in_recep": (*FETCH, "clean apple 2 with sinkbasin 1", "move apple 2 to countertop 2"),
    "pick_heat_then_place_in_recep": (
        *FETCH,
        "go to microwave 1",
        "heat apple 2 with microwave 1",
        "move apple 2 to countertop 1",
    ),
    "pick_cool_then_place_in_recep": (
        *FETCH,
        "go to fridge 1",
        "cool apple 2 with fridge 1",
        "go to countertop 1",
        "move apple 2 to countertop 1",
    ),
    "pick_two_obj_and_place": (
        "go to fridge 1",
        "open fridge 1",
        "take apple 1 from fridge 1",
        "go to countertop 2",
        "move apple 1 to countertop 2",
    ),
    "look_at_obj_in_light": (*FETCH, "use desklamp 1"),
}


@pytest.mark.parametrize("kind", sorted(GOALS))
def test_each_goal_is_won_by_its_last_step_alone(kind: str) -> None:
    assert sorted(GOALS) == list(TASK_TYPES)
    player = play(kind)
    assert task_type_of(problem(kind)) == kind
    for command in WINNING[kind]:
        assert not player.state.won()
        player(command)
    assert player.state.won()


def test_the_goal_can_be_lost_again() -> None:
    player = play("look_at_obj_in_light")
    player(*WINNING["look_at_obj_in_light"], "go to fridge 1")
    assert not player.state.won()
    player("go to countertop 2")
    assert player.state.won()


def test_states_of_one_world_are_independent() -> None:
    world = parse_problem(problem())
    first, second = Player(world), Player(world)
    first(*WINNING["pick_and_place_simple"])
    second("go to countertop 2")
    assert second("examine countertop 2").startswith("On the countertop 2, you see a apple 2,")
    assert not second.can("go to sinkbasin 1")
    assert parse_problem(problem()) is world


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "domain 'alfred'"),
        ("(define (problem p) (:domain grid))", "domain 'alfred'"),
        ("(define (problem p) (:domain alfred) (:objects a - agent))", r"\(:init"),
        (problem().replace("(:objects", "(:things"), r"\(:objects"),
        (problem(more="(flying Apple_bar_1)"), "flying apple_bar_1"),
        (problem(more="(openable Apple_bar_1 Apple_bar_2)"), "openable"),
        (problem(more="(not (openable Fridge_bar_1))"), "only facts"),
        (problem(more="(openable Safe_bar_1)"), "safe_bar_1"),
        (problem(more="(openable Apple_bar_1)"), "another kind of thing"),
        (problem(more="(atLocation agent1 loc_bar_1)"), "exactly one location"),
        (problem(more="(receptacleAtLocation Fridge_bar_1 loc_bar_1)"), "two locations"),
        (problem().replace("(inReceptacle ?o ?r)", "(isHot ?o)"), "six task types"),
    ],
)
def test_other_problems_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_problem(text)


def test_costs_comments_and_lists_of_objects_are_understood() -> None:
    costs = "(= (total-cost) 0) (= (distance loc_bar_0 loc_bar_1) 3)"
    listed = problem(more=f"; (openable Nonsense)\n{costs}").replace(
        "Apple_bar_1 - object\nApple_bar_2 - object", "Apple_bar_1 Apple_bar_2 - object"
    )
    closed = listed.rstrip().removesuffix(")") + "(:metric minimize (total-cost)))"
    assert parse_problem(closed).objects == parse_problem(problem()).objects
