"""Values over the graph of visited states: by hand, and what must hold for any set of episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.algos.graph import graph_advantages, graph_step_advantages
from himac.algos.steps import discounted_returns
from himac.rollout.returns import FailureCosts
from himac.types import StopReason
from support.episodes import made, turn

Walk = list[tuple[str, str, float]]
"""State, action and reward of each turn."""


def solved(*walks: Walk, gamma: float = 0.5) -> list[np.ndarray]:
    columns = [[[turn[part] for turn in walk] for walk in walks] for part in range(3)]
    return graph_advantages(*columns, [[True] * len(walk) for walk in walks], gamma)  # type: ignore[arg-type]


def test_by_hand() -> None:
    # Both go through the hall: one wins from there, the other goes back to the door and gives up.
    # V(hall) = (8 + 0.5 V(door)) / 2 and V(door) = (0.5 V(hall) + 0.5 V(hall) + 0) / 3, as door is left three times.
    # So V(door) = V(hall) / 3, V(hall) = 4 + V(hall) / 12 = 48 / 11, V(door) = 16 / 11.
    won, lost = solved(
        [("door", "in", 0.0), ("hall", "take", 8.0)],
        [("door", "in", 0.0), ("hall", "back", 0.0), ("door", "wait", 0.0)],
    )
    # Q(door, in) = 0.5 * 48 / 11 = 24 / 11 and Q(door, wait) = 0; Q(hall, take) = 8, Q(hall, back) = 8 / 11.
    np.testing.assert_allclose(won, [8 / 11, 40 / 11], rtol=1e-6)
    np.testing.assert_allclose(lost, [8 / 11, -40 / 11, -16 / 11], rtol=1e-6)


def test_what_others_found_behind_a_state_counts() -> None:
    """The first walk failed, but it went where the second one won from: its step there is the better one."""
    failed, won, stayed = solved(
        [("door", "in", 0.0), ("hall", "wait", 0.0)],
        [("hall", "take", 8.0)],
        [("door", "wait", 0.0)],
    )
    assert failed[0] > 0 > stayed[0]
    assert won[0] > 0 > failed[1]


def test_a_turn_without_a_step_takes_no_time() -> None:
    walks = [[("a", "x", 0.0), ("b", "y", 4.0)], [("a", "z", 0.0)]]
    columns = [[[turn[part] for turn in walk] for walk in walks] for part in range(3)]
    with_step = graph_advantages(*columns, [[True, True], [True]], 0.5)[0][0]  # type: ignore[arg-type]
    without = graph_advantages(*columns, [[False, True], [True]], 0.5)[0][0]  # type: ignore[arg-type]
    assert (with_step, without) == (pytest.approx(1.0), pytest.approx(2.0))  # 2 or 4 against 0, less their mean


def test_a_circle_of_talk_is_worth_nothing() -> None:
    walks = [[("a", "x", 0.0)] * 5, [("a", "y", 0.0)]]
    columns = [[[turn[part] for turn in walk] for walk in walks] for part in range(3)]
    found = graph_advantages(*columns, [[False] * 5, [False]], 0.9)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.concatenate(found), 0.0)


def test_episodes_without_turns() -> None:
    first, second = solved([], [("a", "x", 1.0)])
    assert (len(first), second.tolist()) == (0, [0.0])
    assert [len(one) for one in solved([], [])] == [0, 0]


walks = st.lists(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.floats(-1, 1)), max_size=6),
    min_size=1,
    max_size=5,
)


@given(walks, st.floats(0.1, 0.99))
def test_the_mean_advantage_of_a_state_is_zero(given_walks: list[Walk], gamma: float) -> None:
    """V(s) is the mean of Q(s, a) over the visits: no state as such is pushed up or down."""
    found = np.concatenate(solved(*given_walks, gamma=gamma))
    states = np.array([turn[0] for walk in given_walks for turn in walk])
    for state in np.unique(states):
        assert found[states == state].sum() == pytest.approx(0.0, abs=1e-6)


@given(walks, st.floats(0.1, 0.99))
def test_one_tried_action_has_no_advantage(given_walks: list[Walk], gamma: float) -> None:
    obedient = [[(state, "x", reward) for state, _, reward in walk] for walk in given_walks]
    assert not np.concatenate(solved(*obedient, gamma=gamma)).any()


@given(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=5), min_size=2, max_size=4), st.floats(0.1, 0.99))
def test_where_walks_meet_at_the_start_only_it_is_the_return(rewards: list[list[float]], gamma: float) -> None:
    """Without another meeting the graph is a tree, and Q is the discounted return of the walk."""
    tree = [
        [("root" if t == 0 else f"{n}/{t}", str(n), reward) for t, reward in enumerate(walk)]
        for n, walk in enumerate(rewards)
    ]
    returns = np.array([sum(reward * gamma**t for t, reward in enumerate(walk)) for walk in rewards])
    firsts = [advantages[0] for advantages in solved(*tree, gamma=gamma)]
    np.testing.assert_allclose(firsts, returns - returns.mean(), atol=1e-6)


# ---- from episodes

COSTS = FailureCosts(worst_step=0.0, invalid=-0.5, failure=-1.0, step_limit=8)


def test_without_a_meeting_these_are_the_discounted_returns() -> None:
    rewards = COSTS.turn_rewards(made(StopReason.SUCCESS, [turn(1.0), turn(4.0)]), 0.5)
    np.testing.assert_array_equal(discounted_returns(rewards, 0.5), [3.0, 4.0])


def test_executions_of_two_blueprints_meet_where_as_many_subgoals_are_done() -> None:
    """From the door both went on; what one of them did there is compared with what the other did."""
    gone = made(StopReason.SUCCESS, [turn(anchor="hall"), turn(10.0, "door")], ["find the door", "leave"])
    stayed = made(StopReason.FAILURE, [turn(anchor="hall"), turn(0.0, "door", "wait")], ["go to the door", "leave"])
    # V(door) = (10 - 1 - 0.5 / (1 - 0.5)) / 2 = 4: leaving is worth 6 more, waiting 6 less. All went one way before.
    first, second = graph_step_advantages([gone, stayed], COSTS, 0.5)
    np.testing.assert_allclose(first, [0.0, 6.0], atol=1e-6)
    np.testing.assert_allclose(second, [0.0, -6.0], atol=1e-6)


def test_the_turns_of_a_shared_prefix_are_seen_once() -> None:
    """What comes out behind a boundary counts for the turn that led there, which was taken once."""
    led = [turn(anchor="hall", action="in"), turn(0.0, "door", "wait")]
    origin = made(StopReason.FAILURE, led, ["find the door", "leave"])
    branch = made(StopReason.SUCCESS, [led[0], turn(10.0, "door")], ["find the door", "leave"])
    branch = replace(branch, segments=(origin.segments[0], branch.segments[1]), shared=1)
    other = made(StopReason.SUCCESS, [turn(3.0, "hall", "shout")], ["shout"])
    # V(door) = (-2 + 10) / 2 = 4, so Q(hall, in) = -0.5 - 0.5 + 2 = 1: a step of a failure pays its share of the floor,
    # -0.5 for an invalid one and half of -1. Q(hall, shout) = 3 and V(hall) = 2; a second "in" would make it 5 / 3.
    first, second, third = graph_step_advantages([origin, branch, other], COSTS, 0.5)
    np.testing.assert_allclose(first, [-1.0, -6.0], atol=1e-6)
    np.testing.assert_allclose(second, [6.0], atol=1e-6)
    np.testing.assert_allclose(third, [1.0], atol=1e-6)


def test_what_follows_a_rejection_is_another_state() -> None:
    """A policy that repeats a rejected action until it fails: the first of them is what cost the episode."""
    stuck = made(StopReason.FAILURE, [turn(-0.5, "door", "fly", invalid=True)] * 2)
    gone = made(StopReason.SUCCESS, [turn(10.0, "door", "go")])
    first, second = graph_step_advantages([stuck, gone], COSTS, 0.5)
    # V(door) = (10 - 1 - 0.5 / (1 - 0.5)) / 2 = 4. At the second rejection nothing else was tried.
    np.testing.assert_allclose(first, [-6.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(second, [6.0], atol=1e-6)
