import itertools
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from himac.envs.base import Benchmark
from himac.envs.check import check_benchmark
from himac.envs.registry import make_benchmark
from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.envs.webshop.generator import GOALS_PER_KIND, PER_KIND, records
from himac.envs.webshop.goals import SPLITS
from himac.envs.webshop.store import Store
from himac.envs.webshop.view import View
from himac.errors import ConfigError, DataError
from himac.types import Task


@pytest.fixture(scope="module")
def benchmark(builtin: Store) -> WebShopBenchmark:
    return WebShopBenchmark(view="compact", tagger="rule")


def test_is_a_benchmark(benchmark: WebShopBenchmark) -> None:
    shop: Benchmark = make_benchmark("webshop", view="compact", tagger="rule")
    assert (shop.name, shop.step_limit, shop.reward_scale, shop.worst_step_reward) == ("webshop", 15, 10.0, 0.0)
    assert list(shop.splits()) == ["train", "eval", "test"]
    check_benchmark(shop)


def test_results_name_what_scores_depend_on() -> None:
    shop = WebShopBenchmark(tagger="rule", fixed_options=True)
    assert shop.conditions == {"tagger": "rule", "fixed_options": True}


def test_the_catalogue() -> None:
    made = records()
    assert made == records()
    assert len(made) == 40 * PER_KIND >= 1000
    assert len({record["asin"] for record, _ in made}) == len(made)
    assert sum("instruction" in known for _, known in made) == 40 * GOALS_PER_KIND
    assert len({record["category"] for record, _ in made}) == 5


def test_splits_share_nothing(benchmark: WebShopBenchmark, builtin: Store) -> None:
    goals = {
        split: {builtin.goal("synthetic", task.options["goal"]).instruction for task in benchmark.tasks(split)}
        for split in benchmark.splits()
    }
    assert len(goals["test"]) == SPLITS["test"][1] == 500
    assert len(goals["eval"]) == 1000
    assert len(goals["train"]) >= 3000
    assert not goals["train"] & goals["test"]
    assert not goals["train"] & goals["eval"]
    assert not goals["eval"] & goals["test"]


def test_hashes(benchmark: WebShopBenchmark) -> None:
    hashes = {benchmark.split_hash(split) for split in benchmark.splits()}
    assert len(hashes) == 3
    assert hashes == {WebShopBenchmark(tagger="rule").split_hash(split) for split in benchmark.splits()}
    assert {split_hash[:12] for split_hash in hashes} == {"69771f79b00f", "7cbf727f71ec", "13a93ccb6d8a"}


def test_tasks_are_made_when_they_are_asked_for(
    benchmark: WebShopBenchmark, builtin: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [
        Task(f"synthetic-{number:08d}", builtin.goal("synthetic", number).category, {"goal": number})
        for number in range(*SPLITS["eval"])
    ]
    tasks = benchmark.tasks("eval")
    assert list(tasks) == expected
    assert (len(tasks), tasks[0], tasks[-1]) == (1000, expected[0], expected[-1])
    for part in (slice(None), slice(40), slice(10, 30, 7), slice(995, 2000), slice(None, None, -1)):
        assert list(tasks[part]) == expected[part]
    assert random.Random(3).sample(tasks, 50) == random.Random(3).sample(expected, 50)
    with pytest.raises(IndexError):
        tasks[1000]
    monkeypatch.setattr(Store, "goal_category", lambda *_: pytest.fail("a task was made"))
    assert len(benchmark.tasks("train")[100:]) == builtin.goals("synthetic") - 1600


def test_official_splits(official: Store, shared_dir: Path) -> None:
    shop = WebShopBenchmark(str(shared_dir / "data" / "webshop"), tagger="rule")
    assert [(split, len(shop.tasks(split))) for split in shop.splits()] == [
        *(("train", 5410), ("eval", 1000), ("test", 500)),
    ]
    human = WebShopBenchmark(str(shared_dir / "data" / "webshop"), goals="human", tagger="rule")
    assert [(split, len(human.tasks(split))) for split in human.splits()] == [("test", 13)]


@pytest.mark.parametrize("view", ["compact", "text"])
def test_demonstrations_can_be_replayed(view: View, builtin: Store) -> None:
    shop = WebShopBenchmark(view=view, tagger="rule")
    env = shop.make_env()
    wins = 0
    tasks = shop.tasks("eval")[:60]
    for task in tasks:
        demo = shop.demonstrate(task, random.Random(0))
        observation, info = env.reset(options=dict(task.options))
        assert (observation, info["instruction"]) == (demo.observation, demo.instruction)
        assert len(demo.blueprint) == 4
        for segment in demo.segments:
            assert segment.start == shop.start_text(segment.subgoal, "", observation)
            for turn in segment.turns:
                if turn.action is not None:
                    observation, reward, _, _, info = env.step(turn.action)
                    assert (observation, info["invalid"]) == (turn.observation, False)
        assert (reward, info["won"]) == (float(demo.success), demo.success)
        wins += demo.success
    assert wins >= 0.95 * len(tasks)


def test_the_customer_reads_only_what_is_shown(benchmark: WebShopBenchmark) -> None:
    """Its sub-goals are made of words of the instruction."""
    for task in benchmark.tasks("eval")[:50]:
        demo = benchmark.demonstrate(task, random.Random(0))
        plain = demo.instruction.replace(",", " ").replace(":", " ").replace(".00", " ").split()
        scaffold = {"search", "open", "with", "at", "most", "select", "buy", "it"}
        for subgoal in demo.blueprint:
            assert set(subgoal.replace(",", " ").split()) <= set(plain) | scaffold


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_mistakes_are_shown_and_repaired(noise: float, benchmark: WebShopBenchmark) -> None:
    shop = WebShopBenchmark(view="compact", tagger="rule", noise=noise)
    env = shop.make_env()
    mistakes: dict[str, list[str]] = {}
    for number, task in enumerate(benchmark.tasks("eval")[:80]):
        plain = benchmark.demonstrate(task, random.Random(0))
        demo = shop.demonstrate(task, random.Random(number))
        # Mistakes never cost the purchase, and without them and their repairs nothing is left but the plain episode.
        assert (demo.success, demo.blueprint) == (plain.success, plain.blueprint)
        env.reset(options=dict(task.options))
        steps = 0
        for segment, bare in zip(demo.segments, plain.segments, strict=True):
            right = iter(turn.action for turn in segment.turns if turn.train)
            assert all(turn.action in right for turn in bare.turns)
            assert segment.start == bare.start
            for turn in segment.turns:
                if turn.action is not None:
                    steps += 1
                    observation, *_, info = env.step(turn.action)
                    assert observation == turn.observation
                    assert turn.train <= (not info["invalid"])
                    if not turn.train:
                        kind = "rejected" if info["invalid"] else segment.subgoal.split()[0]
                        mistakes.setdefault(kind, []).append(turn.action)
        assert steps <= shop.step_limit
    assert mistakes.keys() == {"rejected", "search", "open", "select", "buy"}
    assert all(action.startswith("search[") for action in mistakes["search"])
    assert set(mistakes["buy"]) <= {"click[description]", "click[features]", "click[reviews]"}


def test_a_wrong_value_is_put_right_and_a_wrong_product_left() -> None:
    shop = WebShopBenchmark(view="compact", tagger="rule", noise=1.0)
    left, put_right = 0, 0
    for number, task in enumerate(shop.tasks("eval")[:30]):
        goal = shop.store.goal("synthetic", task.options["goal"])
        assert isinstance(goal.options, dict)
        for segment in shop.demonstrate(task, random.Random(number)).segments:
            for wrong, then in itertools.pairwise(segment.turns):
                assert then.train or wrong.train  # a repair follows at once
                if wrong.train or wrong.observation in (segment.start, "search page"):
                    continue
                if segment.subgoal.startswith("open"):
                    left += then.action == "click[< prev]"
                elif segment.subgoal.startswith("select"):
                    put_right += str(then.action).removeprefix("click[").removesuffix("]") in goal.options.values()
    assert left >= 10
    assert put_right >= 10


def test_noise_is_drawn_from_the_given_stream(benchmark: WebShopBenchmark) -> None:
    shop = WebShopBenchmark(view="compact", tagger="rule", noise=0.5)
    task = shop.tasks("eval")[0]
    assert shop.demonstrate(task, random.Random(1)) == shop.demonstrate(task, random.Random(1))
    assert len({str(shop.demonstrate(task, random.Random(seed))) for seed in range(10)}) > 5
    assert len({str(benchmark.demonstrate(task, random.Random(seed))) for seed in range(3)}) == 1


def test_random_blueprints_ignore_the_task(benchmark: WebShopBenchmark) -> None:
    task = benchmark.tasks("eval")[0]
    own = benchmark.demonstrate(task, random.Random(0)).blueprint
    plans = {benchmark.random_blueprint(task, random.Random(seed)) for seed in range(20)}
    assert len(plans) > 15
    assert own not in plans


def test_it_can_be_sent_to_a_worker(benchmark: WebShopBenchmark) -> None:
    make_env = pickle.loads(pickle.dumps(benchmark.make_env))
    assert make_env().reset(options={"goal": 3})[0] == benchmark.make_env().reset(options={"goal": 3})[0]


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"view": "html"}, ConfigError, "view"),
        ({"goals": "all"}, ConfigError, "goals"),
        ({"data": ""}, ConfigError, "data"),
        ({"tagger": "x"}, ConfigError, "tagger"),
        ({"noise": 1.5}, ConfigError, "noise"),
        ({"noise": "much"}, ConfigError, "noise"),
        ({"data": "/no/such/folder"}, DataError, "no WebShop data"),
        ({"data": "$HIMAC_NO_SUCH_VARIABLE"}, DataError, "not set"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        WebShopBenchmark(**kwargs)


def test_unknown_splits_and_missing_goals(benchmark: WebShopBenchmark) -> None:
    with pytest.raises(ConfigError, match="split"):
        benchmark.tasks("valid")
    with pytest.raises(DataError, match="human"):
        WebShopBenchmark(goals="human", tagger="rule").splits()
