"""Several purchases in one session: what is shown, what is paid, which goals a list has."""

import random
from itertools import pairwise

import pytest

from himac.agents.parsing import format_blueprint, parse_blueprint
from himac.envs.check import check_benchmark
from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.goals import SPLITS
from himac.envs.webshop.store import Store
from himac.errors import ConfigError
from himac.types import Demonstration


def actions(demo: Demonstration) -> list[str]:
    return [turn.action for segment in demo.segments for turn in segment.turns if turn.action is not None]


@pytest.fixture(scope="module")
def pairs(builtin: Store) -> WebShopBenchmark:
    return WebShopBenchmark(view="compact", tagger="rule", purchases=2)


def test_is_a_benchmark(pairs: WebShopBenchmark) -> None:
    check_benchmark(pairs)
    assert pairs.step_limit == 30
    assert WebShopBenchmark(tagger="rule", purchases=4).step_limit == 60


def test_the_goals_of_a_list(pairs: WebShopBenchmark) -> None:
    for split in pairs.splits():
        start, end = SPLITS[split]
        tasks = pairs.tasks(split)
        assert len(tasks) == len(WebShopBenchmark(tagger="rule").tasks(split))
        for number, task in enumerate(tasks[:200], start):
            first, second = task.options["goal"]
            assert (task.id, task.kind, first) == (f"synthetic-{number:08d}x2", "purchases-2", number)
            assert second != first
            assert start <= second < (end or pairs.store.goals("synthetic"))
        assert tasks[20:40][5] == tasks[25]  # a list is that of its id, however the task is reached
    assert len({task.options["goal"][1] for task in pairs.tasks("eval")}) > 500
    assert WebShopBenchmark(tagger="rule", purchases=3).split_hash("test") != pairs.split_hash("test")


def test_a_list_that_is_bought(pairs: WebShopBenchmark) -> None:
    env = pairs.make_env()
    won = 0
    for task in pairs.tasks("eval")[:40]:
        demo = pairs.demonstrate(task, random.Random(0))
        plan = parse_blueprint(format_blueprint(demo.blueprint), 8)
        assert plan.subgoals == demo.blueprint
        seen, info = env.reset(options=dict(task.options))
        one, two = (pairs.store.goal("synthetic", number).instruction for number in task.options["goal"])
        assert info["instruction"] == demo.instruction == f"1. {one}; 2. {two}"
        paid, purchases = 0.0, 0
        for action in actions(demo):
            seen, reward, terminated, truncated, info = env.step(action)
            assert (info["invalid"], truncated) == (False, False)
            if "purchase" in info:
                purchases += 1
                assert terminated == (purchases == 2)
                assert terminated or (seen, info["goal"]) == ("Purchase 1 of 2 is made.\nsearch page", second(task))
            paid += reward
        assert purchases == 2
        assert info["won"] == demo.success == (paid == 1.0)
        assert (info["score"] == 100.0) == info["won"]
        won += demo.success
    assert won > 34


def second(task: object) -> int:
    number: int = task.options["goal"][1]  # type: ignore[attr-defined]
    return number


def test_a_wrong_purchase_spoils_the_list_but_not_the_rest(pairs: WebShopBenchmark, builtin: Store) -> None:
    alone = WebShopBenchmark(view="compact", tagger="rule")
    for task in pairs.tasks("eval")[:30]:
        first = pairs.store.goal("synthetic", task.options["goal"][0])
        # The first hit without its options, then what the customer buys for the second goal on its own.
        hasty = [f"search[{first.query}]", "click[1]", "click[buy now]"]
        right = alone.demonstrate(alone.tasks("eval")[second(task) - SPLITS["eval"][0]], random.Random(0))
        if not right.success:
            continue
        told = {}
        for exact in (True, False):
            env = WebShopEnv(builtin, "compact", exact=exact, tagger="rule")
            env.reset(options=dict(task.options))
            steps = [env.step(action) for action in (*hasty, *actions(right))]
            bought = [(reward, info["purchase"].reward) for _, reward, _, _, info in steps if "purchase" in info]
            told[exact] = (bought, steps[-1][2], steps[-1][4]["won"], steps[-1][4]["score"])
        (_, worth), (_, best) = told[True][0]
        if worth == 1.0:
            continue
        assert best == 1.0
        assert told[True] == ([(0.0, worth), (0.5, 1.0)], True, False, pytest.approx(50.0 * (worth + 1.0)))
        assert told[False][0] == [(worth / 2, worth), (0.5, 1.0)]
        return
    pytest.fail("no first hit was wrong")


def test_a_single_goal_is_as_before(builtin: Store) -> None:
    env = WebShopEnv(builtin, "compact", tagger="rule")
    one = env.reset(options={"goal": 7})
    assert env.reset(options={"goal": [7]}) == one
    assert one[1]["instruction"] == builtin.goal("synthetic", 7).instruction


def test_random_blueprints_are_as_long_as_the_list(pairs: WebShopBenchmark) -> None:
    task = pairs.tasks("test")[0]
    for seed in range(10):
        blueprint = pairs.random_blueprint(task, random.Random(seed))
        assert blueprint.count("buy it") == 2
        assert all(one != two for one, two in pairwise(blueprint))


def test_the_rules_speak_of_a_list() -> None:
    one, two = (WebShopBenchmark(tagger="rule", purchases=count).texts for count in (1, 2))
    for told, more in ((one.executor, two.executor), (one.flat, two.flat)):
        assert "Buying ends the task" in told
        assert "Buying ends the task" not in more
        assert "one purchase each" in more
    assert two.planner.startswith(one.planner)


@pytest.mark.parametrize("purchases", [0, -1, True, 1.5, "2"])
def test_bad_numbers(purchases: object) -> None:
    with pytest.raises(ConfigError, match=r"purchases is .*; choose a number from 1"):
        WebShopBenchmark(tagger="rule", purchases=purchases)  # type: ignore[arg-type]


def test_more_purchases_than_goals() -> None:
    with pytest.raises(ConfigError, match="has 500 goals, too few for lists of 501"):
        WebShopBenchmark(tagger="rule", purchases=501).tasks("test")


@pytest.mark.parametrize("goal", [[], [1, -1], [True], "1", [10**9]])
def test_bad_goals(goal: object, builtin: Store) -> None:
    with pytest.raises(ConfigError, match="no goal number below"):
        WebShopEnv(builtin, tagger="rule").reset(options={"goal": goal})
