"""Gymnasium ids and other names as benchmarks."""

from __future__ import annotations

import pickle
import random
import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import gymnasium
import numpy as np
import pytest

from himac.envs.check import check_benchmark
from himac.envs.gym import GymBenchmark, GymTextEnv
from himac.envs.registry import BENCHMARKS, make_benchmark
from himac.errors import ConfigError, DataError, MissingDependencyError
from himac.scene import Image, Scene
from support.toy import ColourBenchmark


class Guess(gymnasium.Env[str, str]):
    """Guess a digit; the reward tells."""

    action_space = gymnasium.spaces.Text(10)
    observation_space = gymnasium.spaces.Text(100)

    def __init__(self, digits: int = 10, words: bool = True) -> None:
        self.digits, self.words = digits, words

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.secret = int(self.np_random.integers(self.digits))
        text = f"Guess a number below {self.digits}, not {(self.secret + 1) % self.digits}."
        return (text if self.words else self.secret), {}

    def step(self, action: str) -> Any:
        right = action == str(self.secret)
        return ("right" if right else "wrong"), float(right), right, False, {}


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gymnasium.register("himac-test/Guess-v0", Guess, disable_env_checker=True)
    yield
    del gymnasium.registry["himac-test/Guess-v0"]


def test_a_gymnasium_id_is_a_benchmark() -> None:
    benchmark = make_benchmark("gym:himac-test/Guess-v0", kwargs={"digits": 4}, train_tasks=20, valid_tasks=5)
    check_benchmark(benchmark)
    env = benchmark.make_env()
    train, valid = benchmark.tasks("train"), benchmark.tasks("valid")
    assert (len(train), len(valid)) == (20, 5)
    assert not {task.options["seed"] for task in train} & {task.options["seed"] for task in valid}
    observation, info = env.reset(options=dict(train[3].options))
    assert info == {"instruction": observation, "won": False}
    secret = env.unwrapped.secret  # type: ignore[attr-defined]
    _, reward, terminated, truncated, info = env.step("no number")
    assert (reward, terminated, truncated, info["won"], info["invalid"]) == (0.0, False, False, False, False)
    _, reward, terminated, _, info = env.step(str(secret))
    assert (reward, terminated, info["won"]) == (1.0, True, True)
    # The task decides, whatever seed the run hands over.
    assert env.reset(seed=99, options=dict(train[3].options))[0] == observation


def test_the_split_hash_depends_on_what_the_tasks_are() -> None:
    plain = GymBenchmark("himac-test/Guess-v0")
    assert plain.split_hash("train") == GymBenchmark("himac-test/Guess-v0").split_hash("train")
    others = [
        plain.split_hash("valid"),
        GymBenchmark("himac-test/Guess-v0", {"digits": 3}).split_hash("train"),
        GymBenchmark("himac-test/Guess-v0", train_tasks=999).split_hash("train"),
    ]
    assert len({plain.split_hash("train"), *others}) == 4
    with pytest.raises(ConfigError, match="no split 'test'"):
        plain.tasks("test")


def test_it_travels_to_worker_processes_and_has_no_demonstrator() -> None:
    benchmark = pickle.loads(pickle.dumps(GymBenchmark("himac-test/Guess-v0")))
    task = benchmark.tasks("train")[0]
    assert benchmark.make_env().reset(options=dict(task.options))[0].startswith("Guess")
    plan = benchmark.random_blueprint(task, random.Random(0))
    assert all(goal.strip() for goal in plan)
    assert benchmark.start_text("do it", "", "a room") == "a room"
    assert benchmark.start_text("do it", "a house", "a room") == "a house\na room"
    with pytest.raises(DataError, match="no demonstrator"):
        benchmark.demonstrate(task, random.Random(0))


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("gym:himac-test/Gues-v0", {}, "cannot make"),
        ("gym:himac-test/Guess-v0", {"kwargs": {"sides": 6}}, "cannot make"),
        ("gym:CartPole-v1", {}, "Discrete"),
    ],
)
def test_environments_that_cannot_be_used(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_benchmark(name, **kwargs).make_env()


def test_observations_that_are_not_text() -> None:
    env = GymBenchmark("himac-test/Guess-v0", {"words": False}).make_env()
    with pytest.raises(ConfigError, match="observes int"):
        env.reset(options={"seed": 0})


def test_spaces_that_are_not_text_are_named_with_the_remedy() -> None:
    with pytest.raises(
        ConfigError, match=r"actions from Discrete and observes Discrete, .* name the actions in env\.kwargs\.actions"
    ):
        GymBenchmark("FrozenLake-v1").make_env()


@pytest.mark.parametrize(
    "rewards", [{"reward_scale": float("inf")}, {"reward_scale": 0}, {"worst_step_reward": -np.inf}]
)
def test_rewards_are_finite(rewards: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(rewards))} of gym:X .* finite"):
        GymBenchmark("X", **rewards)


def test_a_module_that_gymnasium_does_not_name() -> None:
    with pytest.raises(MissingDependencyError, match="'nomodule:X' needs the module 'nomodule'"):
        GymBenchmark("nomodule:X").make_env()


def test_a_missing_module_is_named() -> None:
    with pytest.raises(MissingDependencyError, match="no_such_package"):
        make_benchmark("gym:no_such_package:Maze-v0").make_env()


def test_unknown_names_and_arguments() -> None:
    with pytest.raises(ConfigError, match="did you mean 'alfworld'"):
        make_benchmark("alfwrld")
    with pytest.raises(ConfigError, match=r"known: .*alfworld"):
        make_benchmark("xyzzy")
    with pytest.raises(ConfigError, match="without an id"):
        make_benchmark("gym:")
    with pytest.raises(ConfigError, match="it takes: id, kwargs"):
        make_benchmark("gym:himac-test/Guess-v0", colour="red")
    for bad in ({"train_tasks": 0}, {"valid_tasks": 2**30}, {"worst_step_reward": 0.1}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            make_benchmark("gym:himac-test/Guess-v0", **bad)


def test_installed_packages_add_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("colour_package")
    module.ColourBenchmark = ColourBenchmark  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "colour_package", module)
    points = [
        EntryPoint("colours", "colour_package:ColourBenchmark", BENCHMARKS.group),
        EntryPoint("lost", "package_that_is_gone:Benchmark", BENCHMARKS.group),
        EntryPoint("broken", "colour_package:Missing", BENCHMARKS.group),
        EntryPoint("alfworld", "colour_package:ColourBenchmark", BENCHMARKS.group),
    ]
    monkeypatch.setattr("himac.plugins.entry_points", lambda group: points)
    assert BENCHMARKS.names() == ["alfworld", "babyai", "chores", "sokoban", "webshop", "broken", "colours", "lost"]
    assert isinstance(make_benchmark("colours"), ColourBenchmark)
    with pytest.raises(MissingDependencyError, match="package_that_is_gone"):
        make_benchmark("lost")
    with pytest.raises(ConfigError, match="'broken' cannot be loaded"):
        make_benchmark("broken")
    assert make_benchmark("alfworld").name == "alfworld"


class Camera(gymnasium.Env[Any, str]):
    """Shows what it was built with."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.shown, {"instruction": "look"}

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.shown, 1.0, True, False, {}


def test_pictures_with_and_without_words() -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    both = {"text": "a room", "image": pixels}
    for shown, parts in ((pixels, (Image(pixels),)), (both, ("a room", Image(pixels)))):
        env = GymTextEnv(Camera(shown))
        assert env.reset()[0] == Scene(parts) == env.step("go")[0]
    for wrong in (pixels[0], pixels.astype(float), {"sound": 1}):
        with pytest.raises(ConfigError, match="not text or a uint8 RGB picture"):
            GymTextEnv(Camera(wrong)).reset()
