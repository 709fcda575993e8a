import random
from itertools import pairwise
from pathlib import Path

import pytest

from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.alfworld.generator import generate_games, write_games
from himac.envs.alfworld.prior import Prior
from himac.envs.base import Benchmark, demonstrations
from himac.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("games")
    for number, split in enumerate(("train", "valid_seen", "extra")):
        write_games(path / f"{split}.jsonl.xz", generate_games(12, "small", number, split))
    return path


def test_is_a_benchmark() -> None:
    benchmark: Benchmark = AlfworldBenchmark()
    assert (benchmark.name, benchmark.step_limit, benchmark.reward_scale) == ("alfworld", 50, 10.0)
    assert list(benchmark.splits()) == ["train", "valid"]


def test_tasks_are_sorted_and_splits_disjoint() -> None:
    benchmark = AlfworldBenchmark("builtin:large")
    train, valid = (benchmark.tasks(split) for split in ("train", "valid"))
    assert [task.id for task in valid] == sorted(task.id for task in valid)
    assert (len(train), len(valid)) == (300, 200)
    assert not {task.id for task in train} & {task.id for task in valid}
    assert benchmark.split_hash("train") != benchmark.split_hash("valid")
    assert benchmark.split_hash("valid") == AlfworldBenchmark("builtin:large").split_hash("valid")


def test_environment_plays_demonstrations_of_every_split(folder: Path) -> None:
    benchmark = AlfworldBenchmark(str(folder), noise=0.2)
    assert list(benchmark.splits()) == ["train", "valid_seen", "extra"]
    env = benchmark.make_env()
    for split in benchmark.splits():
        for demo in demonstrations(benchmark, benchmark.tasks(split)[:4], passes=2, seed=0):
            last, info = env.reset(options=dict(demo.task.options))
            overview = info["overview"]
            assert (last, info["instruction"]) == (demo.observation, demo.instruction)
            for segment in demo.segments:
                assert segment.start == benchmark.start_text(segment.subgoal, overview, last)
                for turn in segment.turns:
                    if turn.action is not None:
                        last, *_, info = env.step(turn.action)
                        assert last == turn.observation
            assert demo.success
            assert info["won"]


def test_demonstrations_repeat_with_their_seed(folder: Path) -> None:
    benchmark = AlfworldBenchmark(str(folder), noise=0.3, hint_noise=0.5)
    task = benchmark.tasks("train")[0]
    first, again = (benchmark.demonstrate(task, random.Random(4)) for _ in range(2))
    assert first == again
    assert len({benchmark.demonstrate(task, random.Random(seed)).segments for seed in range(6)}) > 1


def test_prior_file_replaces_the_train_split(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prior.json"
    file.write_text(Prior({"apple": {"fridge": 1.0}}).to_json())
    single = str(folder / "extra.jsonl.xz")
    assert AlfworldBenchmark(single, prior=str(file)).prior.chances == {"apple": {"fridge": 1.0}}
    with pytest.raises(ConfigError, match="no train split"):
        _ = AlfworldBenchmark(single).prior
    assert AlfworldBenchmark(str(folder)).prior.chances


def test_random_blueprints_are_well_formed() -> None:
    benchmark = AlfworldBenchmark()
    task = benchmark.tasks("valid")[0]
    blueprints = {benchmark.random_blueprint(task, random.Random(seed)) for seed in range(40)}
    assert len(blueprints) > 30
    for blueprint in blueprints:
        assert 2 <= len(blueprint) <= 3
        assert blueprint[0].startswith("take ")
        assert blueprint[-1].startswith(("put ", "use desklamp"))
        assert all(one != two for one, two in pairwise(blueprint))


def test_compact_rules_are_short() -> None:
    texts = AlfworldBenchmark().texts
    assert all(len(text.split()) <= 15 for text in (texts.planner, texts.executor, texts.flat))
    full = AlfworldBenchmark(view="full").texts
    assert all("go to (receptacle)" in text for text in (full.executor, full.flat))
    assert "<sub_done>" in full.executor
    assert "<sub_done>" not in full.flat


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "builtin:huge"}, ConfigError, "builtin:small"),
        ({"data": "/nowhere/at/all"}, DataError, "no ALFWorld data"),
        ({"view": "short"}, ConfigError, "compact or full"),
        ({"noise": 1.5}, ConfigError, "probability"),
        ({"prior": "/nowhere/prior.json"}, DataError, "existing file"),
    ],
)
def test_bad_arguments(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AlfworldBenchmark(**options)


def test_unknown_split() -> None:
    with pytest.raises(ConfigError, match="choose one of train, valid"):
        AlfworldBenchmark().tasks("test")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no split"):
        AlfworldBenchmark(str(tmp_path))
