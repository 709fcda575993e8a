"""What is tried before a model is loaded."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.config_file import load_config
from himac.envs.gym import GymBenchmark
from himac.envs.pool import EnvPool, EnvResult
from himac.errors import ConfigError, DataError, EnvironmentFailureError, MissingDependencyError
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.preflight import check_room, first_task, try_environment
from himac.rollout.runtime import Runtime
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

RAISES = "support.broken_envs:Raises-v0"


def attempt(identifier: str, overrides: list[str] | None = None, **kwargs: Any) -> list[EnvResult]:
    benchmark = GymBenchmark(identifier, kwargs)
    config = load_config(None, [f"env.name='gym:{identifier}'", *(overrides or [])])
    return try_environment(config, benchmark, [first_task(benchmark, split) for split in benchmark.splits()])


def test_each_task_is_opened() -> None:
    opened = attempt(RAISES, at="never")
    assert [result.observation for result in opened] == ["a room", "a room"]
    assert [result.info["instruction"] for result in opened] == ["a room", "a room"]


@pytest.mark.parametrize("overrides", [[], ["env.workers=3"]])
@pytest.mark.parametrize("place", ["make", "reset", "step"])
def test_what_an_environment_raises_is_a_sentence(place: str, overrides: list[str]) -> None:
    where = "first step ('look') of" if place == "step" else "reset for"
    said = (
        f"the environment 'gym:{RAISES}' at the {where} task 'train-0000000000' failed with "
        f"RuntimeError: the door is stuck at {place}; repair it"
    )
    with pytest.raises(EnvironmentFailureError, match=re.escape(said)):
        attempt(RAISES, overrides, at=place)


def test_our_own_errors_stay_what_they_are() -> None:
    with pytest.raises(ConfigError, match=r"^'FrozenLake-v1' takes actions from Discrete"):
        attempt("FrozenLake-v1")
    with pytest.raises(ConfigError, match=r"^the environment observes int"):
        attempt(RAISES, at="number")
    with pytest.raises(MissingDependencyError, match=r"^'nomodule:X' needs the module 'nomodule'"):
        attempt("nomodule:X", ["env.workers=1"])


def test_an_environment_that_hangs_is_given_up() -> None:
    with pytest.raises(EnvironmentFailureError, match=r"at the reset for task .* 0\.5 s"):
        attempt(RAISES, ["env.workers=1", "env.timeout_s=0.5"], hang=True)


def test_a_split_without_tasks() -> None:
    class Nothing(ColourBenchmark):
        def tasks(self, split: str) -> list[Any]:
            return []

    with pytest.raises(DataError, match="split 'valid' of benchmark 'colours' has no tasks"):
        first_task(Nothing(), "valid")


@pytest.mark.parametrize(("kind", "rules"), [(HierarchicalAgent, "Plan."), (FlatAgent, "Act.")])
def test_a_prompt_needs_room_for_a_reply(kind: Any, rules: str) -> None:
    benchmark, opening = ColourBenchmark(), EnvResult("start", 0.0, False, False, {"instruction": "red blue"})
    # Without a chat template: a byte a token.
    tokens = len(f"{rules}\nstart\nTask: red blue\n\n> ")
    config = load_config(None, [f"agent.max_context={tokens}"])
    agent, engine = kind(ByteTokenizer(), benchmark.texts, config.agent), ScriptedEngine(lambda prompt, request: "")

    def check(room: int) -> None:
        with EnvPool(benchmark.make_env) as pool:
            spec, collector = EpisodeSpec(benchmark, config, room), Collector(engine, pool)
            parts: Any = (config, benchmark, None, engine, agent, pool, collector, spec)
            check_room(Runtime(*parts), opening)

    check(tokens + 1)
    with pytest.raises(
        ConfigError, match=f"first prompt has {tokens} tokens .* the {tokens} of agent.max_context; raise"
    ):
        check(tokens)
    with pytest.raises(ConfigError, match=f"the {tokens - 1} of the model; choose one with a longer context"):
        check(tokens - 1)


def test_an_engine_without_images_is_shown_none() -> None:
    config = load_config(None, ["engine={name: openai, model: m}"])
    picture = EnvResult(np.zeros((8, 8, 3), np.uint8), 0.0, False, False, {})
    parts: Any = (config, *[None] * 7)
    with pytest.raises(
        ConfigError, match=r"pictures, which engine 'openai' does not take; set env\.kwargs\.observation"
    ):
        check_room(Runtime(*parts), picture)
