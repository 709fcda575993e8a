from __future__ import annotations

import pickle
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from himac.agents.parsing import format_blueprint, parse_blueprint
from himac.envs.base import Benchmark, demonstrations
from himac.envs.check import check_benchmark
from himac.envs.registry import make_benchmark
from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.envs.sokoban.expert import make_plan, next_move
from himac.envs.sokoban.level import make_level
from himac.envs.sokoban.solver import solve
from himac.envs.sokoban.state import State
from himac.errors import ConfigError, DataError
from himac.rollout.returns import FailureCosts
from himac.scene import in_words, observed
from himac.types import StopReason


def test_is_a_benchmark() -> None:
    benchmark: Benchmark = make_benchmark("sokoban")
    assert isinstance(benchmark, SokobanBenchmark)
    assert (benchmark.name, benchmark.step_limit, benchmark.reward_scale) == ("sokoban", 15, 1.0)
    assert benchmark.worst_step_reward == pytest.approx(-0.1)
    assert SokobanBenchmark("builtin:two").worst_step_reward == pytest.approx(-0.1)
    assert list(benchmark.splits()) == ["train", "valid", "test"]


@pytest.mark.parametrize(
    ("data", "kind", "step_limit"),
    [("short", "1box-6x6-", 15), ("long", "1box-6x6-", 30), ("two", "2box-7x7-", 30), ("three", "3box-7x7-", 45)],
)
def test_built_in_sets(data: str, kind: str, step_limit: int) -> None:
    benchmark = SokobanBenchmark(f"builtin:{data}")
    assert benchmark.step_limit == step_limit
    check_benchmark(benchmark)
    hashes = {benchmark.split_hash(split) for split in benchmark.splits()}
    assert len(hashes) == 3
    assert hashes == {SokobanBenchmark(f"builtin:{data}").split_hash(split) for split in benchmark.splits()}
    kinds = {task.kind for task in benchmark.tasks("valid")}
    assert len(kinds) > 1
    assert all(known.startswith(kind) for known in kinds)


@pytest.mark.parametrize("view", ["coordinates", "grid"])
@pytest.mark.parametrize("data", ["short", "two", "three"])
def test_demonstrations_replay_and_win(data: str, view: Any) -> None:
    benchmark = SokobanBenchmark(f"builtin:{data}", view=view, noise=0.15)
    env = benchmark.make_env()
    shown = won = mistakes = 0
    for demo in demonstrations(benchmark, benchmark.tasks("valid")[:30], passes=2, seed=0):
        last, info = env.reset(options=dict(demo.task.options))
        overview = info["overview"]
        assert (last, info["instruction"]) == (demo.observation, demo.instruction)
        assert parse_blueprint(format_blueprint(demo.blueprint), 12).subgoals == demo.blueprint
        for segment in demo.segments:
            assert segment.start == benchmark.start_text(segment.subgoal, overview, last)
            for turn in segment.turns:
                if turn.action is not None:
                    last, *_, info = env.step(turn.action)
                    assert last == turn.observation
                    assert turn.train or not info["moved_box"]
                    mistakes += not turn.train
            assert segment.turns[-1].sub_done or segment is demo.segments[-1]
        assert info["won"] == demo.success
        shown, won = shown + 1, won + demo.success
    assert mistakes > 10
    assert won / shown > 0.9


def test_demonstrations_without_noise_are_optimal() -> None:
    benchmark = SokobanBenchmark("builtin:long")
    levels = {level.id: level for level in benchmark.levels("valid")}
    for task in benchmark.tasks("valid")[:60]:
        demo = benchmark.demonstrate(task, random.Random(0))
        actions = [turn.action for segment in demo.segments for turn in segment.turns if turn.action]
        assert demo.success
        assert len(actions) == levels[task.id].moves
        assert all(one != two for one, two in pairwise(demo.blueprint))


def test_demonstrations_repeat_with_their_seed() -> None:
    benchmark = SokobanBenchmark("builtin:long", noise=0.3)
    task = benchmark.tasks("train")[0]
    first, again = (benchmark.demonstrate(task, random.Random(4)) for _ in range(2))
    assert first == again
    assert len({benchmark.demonstrate(task, random.Random(seed)).segments for seed in range(6)}) > 1


def test_travels_to_other_processes_without_its_levels() -> None:
    benchmark = SokobanBenchmark(noise=0.2)
    task = benchmark.tasks("valid")[0]
    demo = benchmark.demonstrate(task, random.Random(1))
    packed = pickle.dumps(benchmark)
    assert len(packed) < 5000
    assert pickle.loads(packed).demonstrate(task, random.Random(1)) == demo


def test_the_plan_groups_straight_pushes() -> None:
    level = make_level("bend", ["#######", "#     #", "#@$   #", "#   . #", "#######"])
    solution = solve(level)
    assert solution is not None
    plan = make_plan(level, solution, "grid")
    assert plan.subgoals == ("push box r2c2 right to r2c4", "push box r2c4 down to r3c4")
    state = State(level)
    for push in plan.pushes:
        while (move := next_move(state, push)) is not None:
            state.move(move)
    assert state.won
    assert next_move(state, plan.pushes[0]) is None


def test_a_level_without_solution_is_an_unsuccessful_demonstration(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("#####\n#$@.#\n#   #\n#####\n")
    benchmark = SokobanBenchmark(str(tmp_path))
    demo = benchmark.demonstrate(benchmark.tasks("train")[0], random.Random(0))
    assert not demo.success
    assert demo.segments == ()


def test_boxoban_is_found_by_its_splits(shared_dir: Path) -> None:
    benchmark = SokobanBenchmark(str(shared_dir / "data" / "boxoban" / "medium"), view="grid")
    assert list(benchmark.splits()) == ["train", "valid"]
    tasks = benchmark.tasks("valid")
    assert (len(tasks), tasks[0].id, tasks[0].kind) == (1000, "valid/000-0000", "4box-10x10")
    observation, _ = benchmark.make_env().reset(options=dict(tasks[0].options))
    assert observation.count("$") == 4
    assert benchmark.split_hash("train") != benchmark.split_hash("valid")


def test_random_blueprints_are_well_formed() -> None:
    benchmark = SokobanBenchmark()
    task = benchmark.tasks("valid")[0]
    blueprints = {benchmark.random_blueprint(task, random.Random(seed)) for seed in range(60)}
    assert len(blueprints) > 50
    for blueprint in blueprints:
        assert parse_blueprint(format_blueprint(blueprint), 4).subgoals == blueprint
    with pytest.raises(DataError, match="has no level"):
        SokobanBenchmark("builtin:two").random_blueprint(task, random.Random(0))


@pytest.mark.parametrize("data", ["short", "two"])
def test_stopping_early_never_pays(data: str) -> None:
    """No play that fails has a return below that of the same play cut earlier, but for boxes that it lost since."""
    benchmark = SokobanBenchmark(f"builtin:{data}")
    env, rng = benchmark.make_env(), random.Random(0)
    costs = FailureCosts(benchmark.worst_step_reward, invalid=-0.1, failure=-1.0, step_limit=30)
    for task in benchmark.tasks("valid")[:40]:
        env.reset(options=dict(task.options))
        sums, covered, total, invalid, won = [(0.0, 0)], [env.unwrapped.state.covered], 0.0, 0, False
        for _ in range(30):
            _, reward, won, _, info = env.step(rng.choice(["up", "down", "left", "right"]))
            total += reward - 0.1 * info["invalid"]
            invalid += info["invalid"]
            sums.append((total, invalid))
            covered.append(info["boxes_on_target"])
            if won:
                break
        if not won:
            returns = [
                costs.episode_return(value, StopReason.PLAN_EXHAUSTED, steps, rejected)
                for steps, (value, rejected) in enumerate(sums)
            ]
            lost = [max(before - covered[-1], 0) for before in covered]
            assert all(early <= returns[-1] + boxes + 1e-9 for early, boxes in zip(returns, lost, strict=True))


def test_rules_are_told_with_the_grid_only() -> None:
    compact, full = SokobanBenchmark().texts, SokobanBenchmark(view="grid").texts
    assert (compact.planner, compact.executor, compact.flat) == ("", "", "Act.")
    assert "r3c2 left to r3c1" in full.planner
    assert "<sub_done>" in full.executor
    assert "<sub_done>" not in full.flat


def test_pictures_are_a_setting() -> None:
    benchmark = SokobanBenchmark(view="grid", observation="image", image_size=[256, 256])
    assert benchmark.make_env().reset(seed=0)[0].shape == (256, 256, 3)
    assert "red ring" in benchmark.texts.planner
    assert "Symbols" not in benchmark.texts.planner


@pytest.mark.parametrize("view", ["coordinates", "grid"])
def test_demonstrations_show_pictures_and_say_the_same(view: Any) -> None:
    benchmark, worded = (SokobanBenchmark(view=view, noise=0.3, **more) for more in ({"observation": "image"}, {}))
    env = benchmark.make_env()
    for task in benchmark.tasks("valid")[:5]:
        demo, told = (one.demonstrate(task, random.Random(1)) for one in (benchmark, worded))
        last, info = env.reset(options=dict(task.options))
        assert info["overview"] == ""  # words would give away what is to be seen
        assert demo.observation == observed(last)
        words = in_words(demo.observation)
        assert words == told.observation if view == "grid" else words.endswith(f", {told.observation}")
        assert (demo.blueprint, demo.instruction, demo.success) == (told.blueprint, told.instruction, told.success)
        for segment, other in zip(demo.segments, told.segments, strict=True):
            assert segment.start == observed(last)
            assert [turn.action for turn in segment.turns] == [turn.action for turn in other.turns]
            for turn in segment.turns:
                if turn.action is not None:
                    last = env.step(turn.action)[0]
                    assert turn.observation == observed(last)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "builtin:huge"}, ConfigError, "builtin:short, builtin:long, builtin:two"),
        ({"data": 3}, ConfigError, "give a path"),
        ({"data": "/nowhere/at/all"}, DataError, "no Sokoban levels at"),
        ({"view": "map"}, ConfigError, "grid, coordinates"),
        ({"noise": 1.0}, ConfigError, "probability"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SokobanBenchmark(**options)


def test_unknown_split_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one of train, valid, test"):
        SokobanBenchmark().tasks("eval")
    with pytest.raises(DataError, match="holds no split"):
        SokobanBenchmark(str(tmp_path))
