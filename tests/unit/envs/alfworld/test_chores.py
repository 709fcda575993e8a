"""Lists of chores in one room: what is drawn, what is paid, and that the expert does all of them."""

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from himac.agents.parsing import format_blueprint, parse_blueprint
from himac.envs.alfworld.benchmark import BUILTIN_DIR
from himac.envs.alfworld.chore_env import ChoresEnv, step_limit
from himac.envs.alfworld.chore_list import Chore, affords, draw_list, plan_list, write_list
from himac.envs.alfworld.chores import ChoresBenchmark
from himac.envs.alfworld.expert import next_action
from himac.envs.alfworld.games import load_games
from himac.envs.alfworld.generator import generate_games, write_games
from himac.envs.alfworld.goals import CLEAN, COOL, HEAT, LOOK, PLACE, TASK_TYPES, TWO, read_goal
from himac.envs.alfworld.prior import Prior
from himac.envs.alfworld.state import State
from himac.envs.base import Benchmark, demonstrations
from himac.envs.check import check_benchmark
from himac.errors import ConfigError, DataError
from himac.rollout.returns import FailureCosts
from himac.types import StopReason
from support.alfworld_problems import game

KITCHEN = [
    Chore(LOOK, "mug", "desklamp", "look at mug under the desklamp"),
    Chore(LOOK, "knife", "desklamp", "examine the knife with the desklamp"),
    Chore(CLEAN, "apple", "fridge", "put a clean apple in fridge"),
    Chore(PLACE, "apple", "microwave", "put a apple in microwave"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("games")
    for number, split in enumerate(("train", "valid")):
        write_games(path / f"{split}.jsonl.xz", generate_games(24, "medium", number, split))
    return path


@pytest.fixture(scope="module")
def mixture(folder: Path) -> ChoresBenchmark:
    return ChoresBenchmark([1, 2, 4, 8], str(folder), noise=0.2, hint_noise=0.3)


def test_a_goal_by_name_is_the_goal_of_the_problem() -> None:
    for one in load_games(BUILTIN_DIR, "valid-small")[::5]:
        kind, first, second = (name.removesuffix("type") for name in read_goal(one.problem.lower()))
        thing, place = (second, first) if kind == LOOK else (first, second)
        goal = one.world.goal_of(kind, thing, place)
        assert goal == one.world.goal
        assert {one.world.object_types[i] for i in goal.objects} == {thing}
        assert not State(one.world).holds(goal)


def test_what_the_kitchen_affords() -> None:
    # One of the two apples lies on a countertop and the other in the fridge, so only microwave and sink are free of
    # apples. The mug and the knife fit countertops alone, where they lie. Nothing else can be changed.
    assert affords(game().world) == {
        LOOK: {"apple": ["desklamp"], "knife": ["desklamp"], "mug": ["desklamp"]},
        PLACE: {"apple": ["microwave", "sinkbasin"]},
        CLEAN: {"apple": ["countertop", "fridge", "microwave"]},
        COOL: {"apple": ["countertop", "microwave", "sinkbasin"]},
        HEAT: {"apple": ["countertop", "fridge", "sinkbasin"]},
        TWO: {"apple": ["microwave", "sinkbasin"]},
    }


def test_an_episode_by_hand() -> None:
    env = ChoresEnv([game()])
    opening, info = env.reset(options={"game": game().id, "chores": KITCHEN})
    assert opening == info["overview"] == "room: countertop 2, fridge 1, microwave 1, sinkbasin 1"
    assert info["instruction"] == (
        "1. look at mug under the desklamp; 2. examine the knife with the desklamp; 3. put a clean apple in fridge; "
        "4. put a apple in microwave"
    )
    assert (info["won"], info["score"]) == (False, 0.0)
    told = []
    for action in (
        "use desklamp 1",  # out of reach: rejected
        "go to countertop 2",
        "take mug 1 from countertop 2",
        "use desklamp 1",  # the first chore
        "move mug 1 to countertop 2",  # no longer in the hand, but counted
        "take knife 1 from countertop 2",  # the second: the lamp is lit
        "move knife 1 to countertop 2",
        "take apple 2 from countertop 2",
        "go to microwave 1",
        "open microwave 1",
        "move apple 2 to microwave 1",  # the fourth, but the third is not done: nothing counts
        "go to fridge 1",
        "open fridge 1",
        "take apple 1 from fridge 1",
        "go to sinkbasin 1",
        "clean apple 1 with sinkbasin 1",
        "go to fridge 1",
        "move apple 1 to fridge 1",  # the third, and with it the fourth
    ):
        shown, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (info["won"], False)
        told.append((reward, info["score"]))
        if reward:
            told[-1] += (shown,)  # type: ignore[assignment]
    assert info["won"]
    assert told == [
        *[(0.0, 0.0)] * 3,
        (0.25, 25.0, "Chore 1 of 4 is done. You carry the mug 1.\nYou turn on the desklamp 1."),
        (0.0, 25.0),
        (0.25, 50.0, "Chore 2 of 4 is done. You carry the knife 1.\nYou pick up the knife 1 from the countertop 2."),
        *[(0.0, 50.0)] * 11,
        (0.5, 100.0, "Chore 4 of 4 is done.\nYou move the apple 1 to the fridge 1."),
    ]


def test_a_failure_keeps_what_it_earned() -> None:
    # Two of four chores pay 10 x 2 / 4 = 5, and the failure costs 1.
    benchmark = ChoresBenchmark(4)
    paid = benchmark.reward_scale * (0.25 + 0.25)
    costs = FailureCosts(benchmark.worst_step_reward, invalid=0.0, failure=-1.0, step_limit=72)
    assert costs.episode_return(paid, StopReason.PLAN_EXHAUSTED, 20, 0) == 4.0


def test_the_episode_ends_at_the_step_limit() -> None:
    env = ChoresEnv([game()])
    env.reset(options={"game": game().id, "chores": KITCHEN[:2]})
    ends = [env.step("look")[2:4] for _ in range(step_limit(2))]
    assert step_limit(2) == 40
    assert ends == [(False, False)] * 39 + [(False, True)]


def test_what_was_looked_at_is_put_down_before_the_next_chore() -> None:
    prior = Prior({"mug": {"countertop": 0.5, "fridge": 0.1}, "apple": {"fridge": 0.5}, "knife": {"countertop": 1.0}})
    chores = [KITCHEN[0], KITCHEN[3], KITCHEN[1]]
    assert plan_list(write_list(chores), "room: countertop 2, fridge 1, microwave 1", prior) == (
        "take mug (look in countertop, fridge, microwave)",
        "use desklamp (look in countertop, fridge, microwave)",
        "put mug in countertop",
        "take apple (look in fridge, countertop)",
        "put apple in microwave",
        "take knife (look in countertop, fridge, microwave)",
        "use desklamp (look in countertop, fridge, microwave)",
    )
    start = "Chore 2 of 3 is done. You carry the mug 2.\nYou turn on the desklamp 1."
    seen = (("go to countertop 1", "countertop 1: nothing"),)
    assert next_action("put mug in countertop", start, seen) == "move mug 2 to countertop 1"
    assert next_action("use desklamp (look in desk)", "room: desk 1\n" + start, ()) is None


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_expert_does_every_list(folder: Path, count: int) -> None:
    benchmark = ChoresBenchmark(count, str(folder))
    env = benchmark.make_env()
    tasks = benchmark.tasks("valid")
    assert len(tasks) >= 20
    for task in tasks:
        chores = task.options["chores"]
        assert (task.kind, len(chores), len({chore.thing for chore in chores})) == (f"chores-{count}", count, count)
        demo = benchmark.demonstrate(task, random.Random(0))
        assert demo.success
        plan = parse_blueprint(format_blueprint(demo.blueprint), 4 * count)
        assert plan.valid
        assert plan.subgoals == demo.blueprint
        _, info = env.reset(options=dict(task.options))
        assert info["instruction"] == demo.instruction
        paid = 0.0
        for turn in (turn for segment in demo.segments for turn in segment.turns if turn.action is not None):
            shown, reward, *_, truncated, info = env.step(turn.action)
            assert shown == turn.observation
            paid += reward
        assert (paid, info["won"], info["score"], truncated) == (1.0, True, 100.0, False)


def test_mistakes_are_shown_and_start_texts_are_those_of_the_benchmark(mixture: ChoresBenchmark) -> None:
    env = mixture.make_env()
    won = mistakes = 0
    demos = list(demonstrations(mixture, mixture.tasks("train")[::5], passes=1, seed=1))
    for demo in demos:
        last, info = env.reset(options=dict(demo.task.options))
        overview = info["overview"]
        for segment in demo.segments:
            assert segment.start == mixture.start_text(segment.subgoal, overview, last)
            for turn in segment.turns:
                if turn.action is not None:
                    last = env.step(turn.action)[0]
                    mistakes += not turn.train
        won += demo.success
    assert won > 0.8 * len(demos)
    assert mistakes > len(demos)


def test_types_are_balanced_over_lists_and_positions() -> None:
    # Half of the rooms are kitchens and a sixth have a lamp; see chore_list._WEIGHTS. A sixth would be exact balance.
    rng = random.Random(0)
    lists = [draw_list(affords(one.world), 4, rng) for one in load_games(BUILTIN_DIR, "valid-medium")]
    drawn = [chores for chores in lists if chores is not None]
    assert len(drawn) > 190
    for position in range(4):
        counts = Counter(chores[position].kind for chores in drawn)
        assert all(0.08 < counts[kind] / len(drawn) < 0.3 for kind in TASK_TYPES), counts


def test_the_same_lists_each_time(folder: Path, mixture: ChoresBenchmark) -> None:
    again = ChoresBenchmark([8, 4, 2, 1], str(folder))  # noise changes demonstrations only
    assert again.tasks("valid") == mixture.tasks("valid")
    assert again.split_hash("valid") == mixture.split_hash("valid")
    alone = ChoresBenchmark(2, str(folder))
    assert alone.tasks("valid") == [task for task in mixture.tasks("valid") if task.kind == "chores-2"]
    assert len({mixture.split_hash("valid"), mixture.split_hash("train"), alone.split_hash("valid")}) == 3


def test_no_room_is_in_two_splits() -> None:
    rooms = [
        {one.problem.lower().partition("(:objects")[2].partition("(:goal")[0] for one in load_games(BUILTIN_DIR, split)}
        for split in ("train-medium", "valid-medium")
    ]
    assert [len(room) for room in rooms] == [800, 200]
    assert not rooms[0] & rooms[1]


@pytest.mark.parametrize("view", ["compact", "full"])
def test_is_a_benchmark(folder: Path, view: str) -> None:
    benchmark: Benchmark = ChoresBenchmark([1, 2], str(folder), view=view)  # type: ignore[arg-type]
    check_benchmark(benchmark)
    assert benchmark.name == "chores"
    told = ["numbered list of chores" in text for text in (benchmark.texts.planner, benchmark.texts.flat)]
    assert told == [view == "full"] * 2


def test_random_blueprints_are_as_long_as_the_list(mixture: ChoresBenchmark) -> None:
    task = next(task for task in mixture.tasks("valid") if task.kind == "chores-4")
    for seed in range(20):
        blueprint = mixture.random_blueprint(task, random.Random(seed))
        assert 8 <= len(blueprint) <= 12
        assert all(one != two for one, two in pairwise(blueprint))


@pytest.mark.parametrize("chores", [0, -1, True, 1.5, "4", [], [2, 0]])
def test_bad_numbers_of_chores(chores: object) -> None:
    with pytest.raises(ConfigError, match="give a number from 1"):
        ChoresBenchmark(chores)  # type: ignore[arg-type]


def test_more_chores_than_a_room_affords(folder: Path) -> None:
    with pytest.raises(DataError, match="affords 60 chores; ask for fewer"):
        ChoresBenchmark([1, 60], str(folder)).tasks("valid")


def test_the_environment_needs_a_list() -> None:
    with pytest.raises(ConfigError, match="'chores'"):
        ChoresEnv([game()]).reset(options={"game": game().id})
