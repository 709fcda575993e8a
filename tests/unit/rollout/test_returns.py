"""Quitting never pays: whatever happened so far, no failing end returns more than playing on without success."""

from hypothesis import given
from hypothesis import strategies as st

from himac.rollout.returns import episode_return
from himac.types import StopReason

FAILURES = [reason for reason in StopReason if reason is not StopReason.SUCCESS]
LIMIT, WORST, PENALTY = 12, -0.2, -1.0

reward = st.floats(WORST, 1.0)


@given(st.lists(reward, max_size=LIMIT), st.lists(reward, min_size=LIMIT, max_size=LIMIT), st.sampled_from(FAILURES))
def test_quitting_never_pays(before, after, reason):
    quit_now = episode_return(sum(before), reason, len(before), LIMIT, WORST, PENALTY)
    played = before + after[: LIMIT - len(before)]
    played_on = episode_return(sum(played), StopReason.STEP_LIMIT, LIMIT, LIMIT, WORST, PENALTY)
    assert quit_now <= played_on + 1e-9


@given(st.lists(reward, max_size=LIMIT))
def test_every_failing_stop_reason_has_the_same_floor(rewards):
    values = {episode_return(sum(rewards), reason, len(rewards), LIMIT, WORST, PENALTY) for reason in FAILURES}
    assert len(values) == 1


def test_numbers():
    # 3 steps at -0.1 taken of 5; failing: -0.3 - 1 + 2 * -0.2 = -1.7; a success keeps its 10 - 0.3.
    assert abs(episode_return(-0.3, StopReason.PLAN_EXHAUSTED, 3, 5, -0.2, -1.0) + 1.7) < 1e-12
    assert episode_return(9.7, StopReason.SUCCESS, 3, 5, -0.2, -1.0) == 9.7
