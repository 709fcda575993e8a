"""The failure floor: quitting, failing slowly and failing tidily never pay, in returns and in step returns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.rollout.returns import FailureCosts
from himac.types import Episode, StopReason, Turn
from support.episodes import made, turn

FAILURES = [reason for reason in StopReason if reason is not StopReason.SUCCESS]
COSTS = FailureCosts(worst_step=-0.2, invalid=-0.1, failure=-1.0, step_limit=12)
DISCOUNTS = [0.3, 0.9, 0.99]

paid = st.floats(COSTS.worst_step, 1.0)
kinds = st.sampled_from(["valid", "invalid", "talk"])
histories = st.lists(st.tuples(kinds, paid), min_size=1, max_size=COSTS.step_limit)


def episode(stop: StopReason, history: list[tuple[str, float]]) -> Episode:
    """An episode of turns (kind, reward of the environment), with the return that a rollout gives it."""
    return with_return(made(stop, [one(kind, reward) for kind, reward in history]))


def one(kind: str, reward: float) -> Turn:
    if kind == "talk":
        return turn(action=None)
    return turn(reward=reward + COSTS.invalid * (kind == "invalid"), invalid=kind == "invalid")


def with_return(episode: Episode) -> Episode:
    reward_sum, invalid = sum(turn.reward for turn in episode.turns), sum(turn.invalid for turn in episode.turns)
    return replace(episode, ret=COSTS.episode_return(reward_sum, episode.stop, episode.env_steps, invalid))


def worth(episode: Episode, gamma: float) -> list[float]:
    """What the episode is worth from each turn on; a turn without a step takes no time."""
    values, later = list[float](), 0.0
    for reward, step in zip(reversed(COSTS.turn_rewards(episode, gamma)), reversed(episode.turns), strict=True):
        later = reward + (gamma if step.action is not None else 1.0) * later
        values.append(later)
    return values[::-1]


@given(histories, st.lists(st.tuples(kinds, paid), max_size=12), st.sampled_from(FAILURES), st.sampled_from(FAILURES))
def test_quitting_never_pays(
    before: list[tuple[str, float]], after: list[tuple[str, float]], stop: StopReason, end: StopReason
) -> None:
    """No failing end returns more than the same episode played on without success, from its start or any turn."""
    quit_now, played_on = episode(stop, before), episode(end, (before + after)[:12])
    assert quit_now.ret <= played_on.ret + 1e-9
    for gamma in DISCOUNTS:
        early, late = worth(quit_now, gamma), worth(played_on, gamma)
        assert all(soon <= then + 1e-9 for soon, then in zip(early, late, strict=False))


@given(histories, st.sampled_from(FAILURES))
def test_neither_failing_slowly_nor_tidily_pays(history: list[tuple[str, float]], stop: StopReason) -> None:
    """Where the environment pays its worst, failures are worth one constant: -1 - 12 * 0.3 in all."""
    failed = episode(stop, [(kind, COSTS.worst_step) for kind, _ in history])
    assert failed.ret == pytest.approx(-4.6)
    for gamma in DISCOUNTS:
        np.testing.assert_allclose(worth(failed, gamma), -1.0 - 0.3 / (1 - gamma))


@given(histories)
def test_every_failing_stop_reason_has_the_same_floor(history: list[tuple[str, float]]) -> None:
    assert len({episode(stop, history).ret for stop in FAILURES}) == 1


@given(histories, st.sampled_from(list(StopReason)))
def test_without_a_discount_the_turns_add_up_to_the_return(history: list[tuple[str, float]], stop: StopReason) -> None:
    made = episode(stop, history)
    rewards = COSTS.turn_rewards(made)
    assert sum(rewards) == pytest.approx(made.ret, abs=1e-9)
    assert rewards[:-1] == [turn.reward for turn in made.turns[:-1]]


@given(histories, st.data(), st.sampled_from(DISCOUNTS))
def test_talk_between_steps_never_pays(history: list[tuple[str, float]], data: st.DataObject, gamma: float) -> None:
    """Turns without an environment step (a padded plan's bare `<sub_done>`) put the failure off by nothing."""
    padded = list(history)
    for _ in range(data.draw(st.integers(1, 4))):
        padded.insert(data.draw(st.integers(0, len(padded))), ("talk", 0.0))

    def acted(history: list[tuple[str, float]]) -> list[float]:
        values = worth(episode(StopReason.PLAN_EXHAUSTED, history), gamma)
        return [value for value, (kind, _) in zip(values, history, strict=True) if kind != "talk"]

    np.testing.assert_allclose(acted(padded), acted(history), atol=1e-9)


def test_numbers() -> None:
    # 3 steps of -0.1 and one invalid action of 12: -0.4 - 1 + 9 * -0.2 + 11 * -0.1 = -4.3. A success keeps its own.
    assert COSTS.episode_return(-0.4, StopReason.PLAN_EXHAUSTED, 3, 1) == pytest.approx(-4.3)
    assert COSTS.episode_return(9.7, StopReason.SUCCESS, 3, 1) == 9.7
    # 3 now, where the worst is -0.2; -1 - 0.3 / (1 - 0.5) = -1.6 as in every failure: 3.2 - 1.6.
    assert worth(episode(StopReason.FAILURE, [("valid", 3.0)]), 0.5) == [pytest.approx(1.6)]
    assert worth(episode(StopReason.SUCCESS, [("invalid", 3.1), ("valid", 10.0)]), 0.5) == [8.0, 10.0]
    assert COSTS.turn_rewards(made(StopReason.CONTEXT_LIMIT), 0.5) == []
