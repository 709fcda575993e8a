"""BabyAI with demonstrations by its own bot."""

from __future__ import annotations

import random

import pytest

from himac.envs.babyai import BabyAiBenchmark
from himac.envs.check import check_benchmark
from himac.errors import ConfigError


def test_it_keeps_the_promises_of_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    check_benchmark(BabyAiBenchmark(train_tasks=20, valid_tasks=20))
    assert capsys.readouterr().out == ""


def test_sub_goals_are_clauses_in_the_order_of_doing() -> None:
    benchmark = BabyAiBenchmark(valid_tasks=40)
    seen = set()
    for task in benchmark.tasks("valid"):
        demo = benchmark.demonstrate(task, random.Random(0))
        assert demo.success
        goals = [segment.subgoal for segment in demo.segments]
        assert [turn.sub_done for s in demo.segments for turn in s.turns if turn is s.turns[-1]] == [True] * len(goals)
        before, after, rest = demo.instruction.partition(" after you ")
        if after and " and " not in demo.instruction and ", then " not in demo.instruction:
            assert goals == [rest, before][: len(goals)]  # one place may do for both
        elif ", then " in demo.instruction and " and " not in demo.instruction:
            assert goals == demo.instruction.split(", then ")[: len(goals)]
        seen.add("after" if after else len(goals))
    assert {"after", 1, 2} <= seen


def test_a_level_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no level 'GoTo Local'"):
        BabyAiBenchmark("GoTo Local")
