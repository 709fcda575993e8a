"""What the engine computes together does not depend on which environment answers first."""

from __future__ import annotations

from collections.abc import Generator, Hashable
from typing import Any

import pytest

from himac.engines.base import Completion, GenerateRequest, SamplingParams
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.program import Command, Generate, Reset, Step
from support.toy import ColourEnv, Hesitant, ScriptedEngine


class NotingEngine(ScriptedEngine):
    """Notes which requests each step finds; a reply takes one to three steps."""

    def __init__(self) -> None:
        super().__init__(lambda prompt, request: "red")
        self.steps: list[list[Hashable]] = []
        self.left: dict[Hashable, int] = {}

    def submit(self, request: GenerateRequest) -> int:
        self.left[request.id] = 1 + (hash(request.id) + len(request.prompt_ids)) % 3
        return super().submit(request)

    def step(self) -> list[tuple[int, Completion]]:
        self.steps.append([request.id for _, request in self.queue])
        ready = [one for one in self.queue if self.left[one[1].id] == 1]
        for _, request in list(self.queue):
            self.left[request.id] -= 1
        for one in ready:
            self.queue.remove(one)
        return [(number, self._complete(request)) for number, request in ready]


def program(number: int) -> Generator[Command, Any, int]:
    yield Reset({"colours": ["red", "blue"]}, number)
    for turn in range(4):
        yield Generate(number, [1] * (turn + 1), SamplingParams(4))
        yield Step("green")
    return number


def steps(workers: int, overlap: int | None) -> list[list[Hashable]]:
    engine = NotingEngine()
    with EnvPool(Hesitant, workers=workers) as pool:
        results = Collector(engine, pool, max_live=5, overlap=overlap).run([program(n) for n in range(9)])
    assert results == list(range(9))
    return engine.steps


@pytest.mark.parametrize("overlap", [0, 2])
def test_every_step_is_the_same_with_environments_in_other_processes(overlap: int) -> None:
    assert steps(2, overlap) == steps(0, overlap)


def test_answers_as_they_come_make_other_steps() -> None:
    """Otherwise the environments above would hesitate in vain."""
    assert steps(2, None) != steps(0, 0)


@pytest.mark.parametrize("overlap", [0, 2])
def test_an_answer_is_taken_a_fixed_number_of_engine_steps_later(overlap: int) -> None:
    engine = NotingEngine()
    waited = []

    def timed(number: int) -> Generator[Command, Any, int]:
        yield Reset({"colours": ["red", "blue"]}, number)
        for turn in range(4):
            yield Generate(number, [1] * (turn + 1), SamplingParams(4))
            asked = len(engine.steps)
            yield Step("green")
            waited.append(len(engine.steps) - asked)
        return number

    with EnvPool(ColourEnv) as pool:
        Collector(engine, pool, overlap=overlap).run([timed(n) for n in range(9)])
    # Less only where the engine had nothing else to do, as at the end.
    assert max(waited) == overlap
    assert sum(steps == overlap for steps in waited) > len(waited) / 2


def test_the_engine_forgets_first() -> None:
    """A run depends on its programs and the weights only."""
    said = []

    class Forgetful(NotingEngine):
        def forget(self) -> None:
            said.append("forget")

        def submit(self, request: GenerateRequest) -> int:
            said.append("submit")
            return super().submit(request)

    with EnvPool(Hesitant) as pool:
        collector = Collector(Forgetful(), pool)
        for number in (0, 1):
            collector.run([program(number)])
    assert said == ["forget", *["submit"] * 4] * 2
