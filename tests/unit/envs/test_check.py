"""Each promise of `himac.envs.base`, broken one at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from himac.envs.check import check_benchmark, check_env
from himac.envs.registry import make_benchmark
from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.errors import ConfigError, DataError, HimacError
from himac.types import Demonstration, Task
from support.broken_benchmarks import FAULTS, Sound
from support.toy import ColourEnv

Answer = tuple[str, float, bool, bool, dict[str, Any]]


class Corridor(gymnasium.Env[str, str]):
    """Go right three times. Correct in every respect; the hooks spoil one thing each."""

    action_space = gymnasium.spaces.Text(50)
    observation_space = gymnasium.spaces.Text(50)

    def __init__(
        self,
        spoil_reset: Callable[[str, dict[str, Any]], Any] = lambda observation, info: (observation, info),
        spoil_step: Callable[[Answer], Any] = lambda answer: answer,
    ) -> None:
        self.spoil_reset, self.spoil_step = spoil_reset, spoil_step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(2))
        info = {"instruction": "reach 3", "won": False, "admissible_commands": ["left", "right"]}
        return self.spoil_reset(f"place {self.place}", info)

    def step(self, action: str) -> Any:
        invalid = action not in ("left", "right")
        self.place += {"left": -1, "right": 1}.get(action, 0)
        won = self.place == 3
        info = {"won": won, "invalid": invalid, "admissible_commands": ["left", "right"]}
        return self.spoil_step((f"place {self.place}", float(won), won, False, info))


def with_info(key: str, value: object) -> Callable[[Answer], Answer]:
    return lambda answer: (*answer[:4], {**answer[4], key: value})


def without(info: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name != key}


def test_correct_environments_pass() -> None:
    check_env(Corridor())
    check_env(ColourEnv(), {"colours": ["red", "blue"]}, actions=["red", "blue", "mud"])


@pytest.mark.parametrize(
    ("env", "error", "message"),
    [
        (object(), ConfigError, "no gymnasium.Env"),
        (Corridor(lambda o, i: o), ConfigError, "pair"),
        (Corridor(lambda o, i: (3, i)), ConfigError, "observation"),
        (Corridor(lambda o, i: (o, None)), ConfigError, "info"),
        (Corridor(lambda o, i: (o, without(i, "won"))), ConfigError, "won"),
        (Corridor(lambda o, i: (o, without(i, "instruction"))), ConfigError, "instruction"),
        (Corridor(lambda o, i: (o, {**i, "instruction": " "})), DataError, "empty"),
        (Corridor(lambda o, i: (o, {**i, "overview": 3})), ConfigError, "overview"),
        (Corridor(lambda o, i: (o, {**i, "admissible_commands": ("left",)})), ConfigError, "no list"),
        (Corridor(lambda o, i: (o, {**i, "admissible_commands": ["right", "left"]})), ConfigError, "unsorted"),
        (Corridor(spoil_step=lambda a: a[:4]), ConfigError, "terminated, truncated, info"),
        (Corridor(spoil_step=lambda a: (a[0], float("nan"), *a[2:])), ConfigError, "finite"),
        (Corridor(spoil_step=lambda a: (a[0], "1", *a[2:])), ConfigError, "finite"),
        (Corridor(spoil_step=lambda a: (a[0], a[1], 1, *a[3:])), ConfigError, "terminated=1"),
        (Corridor(spoil_step=with_info("invalid", None)), ConfigError, "invalid"),
        (Corridor(spoil_step=with_info("won", True)), ConfigError, "without terminated"),
        (Corridor(spoil_step=with_info("invalid", False)), ConfigError, "nonsense"),
        (Corridor(lambda o, i: (f"{o} {random.random()}", i)), DataError, "np_random"),
    ],
)
def test_each_broken_promise_is_named(env: Any, error: type[HimacError], message: str) -> None:
    with pytest.raises(error, match=message):
        check_env(env)


def test_an_invalid_action_that_changes_the_state() -> None:
    def spoil(answer: Answer) -> Answer:
        return (
            *answer[:4],
            {**answer[4], "admissible_commands": ["left"] if answer[4]["invalid"] else ["left", "right"]},
        )

    with pytest.raises(ConfigError, match="changed the state"):
        check_env(Corridor(spoil_step=spoil))


def test_actions_that_are_not_text() -> None:
    class Discrete(Corridor):
        action_space = gymnasium.spaces.Discrete(2)  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="Text"):
        check_env(Discrete())


def test_pictures_keep_the_promises_too() -> None:
    check_benchmark(SokobanBenchmark(observation="image", image_size=[12, 12]))
    wrong = Corridor(lambda observation, info: (np.zeros((2, 2)), info))
    with pytest.raises(ConfigError, match="describe the state in a str, or show it in a uint8 array"):
        check_env(wrong)


def test_a_sound_benchmark_passes() -> None:
    check_benchmark(Sound(), tasks_per_split=9)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_a_benchmark_is_named(name: str) -> None:
    broken, said = FAULTS[name]
    with pytest.raises(HimacError) as caught:
        check_benchmark(broken())
    assert any(part in str(caught.value) for part in said.split("|")), caught.value


def test_a_demonstrator_is_optional_when_the_benchmark_says_so() -> None:
    def none(task: Task, rng: random.Random) -> Demonstration:
        raise DataError("'colours' has no demonstrator; start from a model that can act")

    def other(task: Task, rng: random.Random) -> Demonstration:
        raise DataError("the file of solutions is missing; get it")

    check_benchmark(Sound(demonstrate=none))
    with pytest.raises(DataError, match="file of solutions"):
        check_benchmark(Sound(demonstrate=other))


@pytest.mark.parametrize("name", ["alfworld", "sokoban", "webshop"])
def test_built_in_benchmarks_pass(name: str) -> None:
    check_benchmark(make_benchmark(name, **({"data": "builtin:small"} if name == "alfworld" else {})), 1)
