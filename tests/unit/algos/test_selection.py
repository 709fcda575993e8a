"""The order in which the blueprints of a task are trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from himac.algos.himac import HimacConfig
from himac.algos.selection import Selection, ranked_blueprints
from himac.types import Blueprint, Episode, Group, StopReason
from support.episodes import made


def scored(name: str, ret: float, solved: float | None = None, stop: StopReason = StopReason.FAILURE) -> Episode:
    return replace(made(stop, ret=ret), blueprint=Blueprint((name,) if name else ()), solved=solved)


def ranking(*episodes: Episode, kind: Selection = "best") -> list[str]:
    group = Group("a0/0", episodes[0].task, episodes)
    return ["".join(plan) for plan, _ in ranked_blueprints(group, kind, seed=3)]


MANY = (scored("sure", 9.0, 1.0), scored("hopeless", -1.0, 0.0), scored("open", 4.0, 0.5), scored("nearly", 7.0, 0.75))


def test_best_is_the_largest_return() -> None:
    assert ranking(*MANY) == ["sure", "nearly", "open", "hopeless"]


def test_learnability_is_the_most_open_outcome() -> None:
    # p (1 - p): 0.25, 0.1875 and twice 0, of which the better return comes first.
    assert ranking(*MANY, kind="learnability") == ["open", "nearly", "sure", "hopeless"]


def test_equal_blueprints_are_pooled() -> None:
    """0 of 4 and 4 of 4 of one blueprint are 4 of 8, more open than 3 of 4 of another."""
    twice = (scored("twice", 0.0, 0.0), scored("once", 7.0, 0.75), scored("twice", 9.0, 1.0))
    assert ranking(*twice, kind="learnability") == ["twice", "once"]


def test_where_every_outcome_is_sure_it_is_eq_4() -> None:
    sure = (scored("", 5.0, 0.0), scored("lost", 5.0, 0.0), scored("won", 8.0, 1.0))
    assert ranking(*sure, kind="learnability") == ["won", "lost"] == ranking(*sure)


def test_one_that_cannot_be_executed_stands_in_for_none() -> None:
    assert ranking(scored("", 5.0), scored("lost", -1.0)) == ["", "lost"]
    assert ranking(scored("", 5.0), scored("lost", 6.0)) == ["lost"]


def test_a_random_one_stands_before_the_others() -> None:
    firsts = set()
    for seed in range(20):
        group = Group("a0/0", MANY[0].task, MANY)
        plans = [p for (p,), _ in ranked_blueprints(group, "random", seed)]
        assert sorted(plans) == ["hopeless", "nearly", "open", "sure"]
        assert [p for p in ("sure", "nearly", "open", "hopeless") if p != plans[0]] == plans[1:]
        firsts.add(plans[0])
    assert len(firsts) > 2


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match=r"set algo\.score_executions to 2 or more"):
        HimacConfig(blueprint_selection="learnability", score_executions=1)
    with pytest.raises(ValidationError, match="whose steps teach all the same"):
        HimacConfig(resample_executions=1, step_weight=1.0)
