"""Quitting never pays, and neither does failing slowly: whatever happened, failures differ by the environment alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.rollout.returns import Costs
from himac.types import StopReason

FAILURES = [reason for reason in StopReason if reason is not StopReason.SUCCESS]
COSTS = Costs(step_limit=12, worst_step=-0.1, invalid_penalty=-0.2, failure_penalty=-1.0)

step = st.tuples(st.floats(-0.1, 1.0), st.booleans())
"""What the environment pays, and whether the action is invalid."""


def failed(steps, stop=StopReason.STEP_LIMIT):
    paid = sum(reward + COSTS.invalid_penalty * invalid for reward, invalid in steps)
    return COSTS.episode_return(paid, stop, len(steps), sum(invalid for _, invalid in steps))


@given(st.lists(step, max_size=12), st.lists(step, min_size=12, max_size=12), st.sampled_from(FAILURES))
def test_quitting_never_pays(before, after, reason):
    """No failing end returns more than playing on without success."""
    assert failed(before, reason) <= failed(before + after[: 12 - len(before)]) + 1e-9


@given(st.lists(st.booleans(), max_size=12), st.lists(st.booleans(), max_size=12))
def test_failing_slowly_or_tidily_never_pays(one, other):
    """Failures to which the environment paid its worst are equal, whatever their length and their invalid actions."""
    assert failed([(-0.1, invalid) for invalid in one]) == pytest.approx(failed([(-0.1, invalid) for invalid in other]))


@given(st.lists(step, max_size=12))
def test_every_failing_stop_reason_has_the_same_floor(steps):
    assert len({failed(steps, reason) for reason in FAILURES}) == 1


def test_numbers():
    # Three of five steps at -0.1, one of them invalid (-0.2 more). Failing: -0.5 - 1 + 2 * -0.1 + 4 * -0.2 = -2.5.
    costs = Costs(5, -0.1, -0.2, -1.0)
    assert costs.episode_return(-0.5, StopReason.PLAN_EXHAUSTED, 3, 1) == pytest.approx(-2.5)
    assert costs.episode_return(9.5, StopReason.SUCCESS, 3, 1) == 9.5
