# ruff: noqa: N806
"""Step returns, anchor groups and joint advantages of GiGPO, against recorded cases and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.algos.advantages import group_relative
from himac.algos.steps import anchor_groups, discounted_returns, joint_advantages, turn_advantages
from himac.rollout.returns import FailureCosts
from himac.types import Episode, Group, StopReason, Task, Turn
from support import episodes
from support.episodes import turn
from support.golden import algorithm_cases
from support.verl_forms import outcome_advantages, verl_eps

TASK = Task("t", "kind")
LIMIT = 8
COSTS = FailureCosts(worst_step=-0.2, invalid=0.0, failure=-1.0, step_limit=LIMIT)
STDS: Any = ("population", "sample", "none")


def made(turns: Sequence[Turn], stop: StopReason, subgoals: Sequence[str | None] = (None,)) -> Episode:
    """An episode of these turns, with the return that a rollout gives it."""
    steps = sum(turn.action is not None for turn in turns)
    ret = COSTS.episode_return(sum(turn.reward for turn in turns), stop, steps, invalid_steps=0)
    return episodes.made(stop, turns, subgoals, ret)


def group(*episodes: Episode) -> Group:
    return Group("g", TASK, episodes)


# ---- recorded cases of the original


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return algorithm_cases("gigpo")


# One group has the scores 9.996, 10.002 and 10.059: their differences are good to 1e-5 in the recorded float32.
SINGLE = {"rtol": 1e-5, "atol": 1e-5}


def tolerance(case: dict[str, Any]) -> dict[str, float]:
    return SINGLE if case["inputs"]["dtype"] == "float32" else {"rtol": 1e-10, "atol": 1e-12}


def recorded_returns(case: dict[str, Any]) -> np.ndarray:
    """Discounted returns of every row; rows of one trajectory are in the order of time."""
    inputs = case["inputs"]
    result = np.zeros(len(inputs["rewards"]))
    for trajectory in set(inputs["traj_index"]):
        rows = [n for n, name in enumerate(inputs["traj_index"]) if name == trajectory]
        result[rows] = discounted_returns([inputs["rewards"][n] for n in rows], inputs["gamma"])
    return result


def recorded_groups(case: dict[str, Any]) -> list[int]:
    inputs = case["inputs"]
    anchors = [tuple(np.ravel(a).tolist()) if isinstance(a, list) else a for a in inputs["anchor_obs"]]
    threshold = inputs["similarity_thresh"] if inputs["enable_similarity"] else None
    return anchor_groups(anchors, inputs["index"], threshold)


def episode_level(case: dict[str, Any], std: Any, across_rows: bool) -> np.ndarray:
    inputs = case["inputs"]
    scores = np.array(inputs["token_level_rewards"], inputs["dtype"]).sum(-1)
    trajectories = None if across_rows else inputs["traj_index"]
    eps = inputs["epsilon"]
    singleton = 1.0 if std == "none" else verl_eps(eps)
    return outcome_advantages(
        scores, inputs["index"], trajectories, partial(group_relative, std=std, eps=eps), singleton
    )


def test_discounted_returns_equal_the_recorded_original(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        recorded = case["outputs"]["step_discounted_returns"]
        np.testing.assert_allclose(recorded_returns(case), recorded, rtol=1e-5, atol=1e-6)


def test_anchor_groups_equal_the_recorded_original(cases: list[dict[str, Any]]) -> None:
    assert {case["inputs"]["enable_similarity"] for case in cases} == {True, False}
    for case in cases:
        assert recorded_groups(case) == case["outputs"]["step_group"], case["case"]


def test_episode_level_equals_the_recorded_original(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        mask = np.array(case["inputs"]["response_mask"], np.float64)
        for key, recorded in case["outputs"]["episode_norm_reward"].items():
            std: Any = "none" if "remove_std=True" in key else "sample"
            actual = episode_level(case, std, "cross_steps=True" in key)
            np.testing.assert_allclose(actual[:, None] * mask, recorded, **tolerance(case), err_msg=key)


def test_step_level_and_joint_advantages_equal_the_recorded_original(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        inputs, outputs = case["inputs"], case["outputs"]
        mask = np.array(inputs["response_mask"], np.float64)
        returns_B = outputs["step_discounted_returns"]
        for std, remove, mode in (("none", "True", "mean_norm"), ("sample", "False", "mean_std_norm")):
            settings: Any = {"std": std, "eps": inputs["epsilon"]}
            step = joint_advantages(np.zeros(len(mask)), returns_B, recorded_groups(case), weight=1.0, **settings)
            recorded = outputs["step_norm_reward"][f"remove_std={remove}"]
            np.testing.assert_allclose(step[:, None] * mask, recorded, **SINGLE, err_msg=f"{case['case']} {std}")
            joint = joint_advantages(
                episode_level(case, std, across_rows=True),
                returns_B,
                recorded_groups(case),
                weight=inputs["step_advantage_w"],
                **settings,
            )
            np.testing.assert_allclose(joint[:, None] * mask, outputs["advantage"][mode], **SINGLE, err_msg=mode)


# ---- by hand


def test_returns_by_hand() -> None:
    # 1 + 0.5 * (2 + 0.5 * 4) = 3
    np.testing.assert_array_equal(discounted_returns([1.0, 2.0, 4.0], 0.5), [3.0, 4.0, 4.0])
    # no time passes in the second turn: 1 + 0.5 * (2 + 4)
    np.testing.assert_array_equal(discounted_returns([1.0, 2.0, 4.0], 0.5, [True, False, True]), [4.0, 6.0, 4.0])
    # nor in a last turn that only ends the episode: its penalty belongs to the step before it
    np.testing.assert_array_equal(discounted_returns([1.0, 2.0, -4.0], 0.5, [True, True, False]), [1.0, 0.0, -4.0])
    np.testing.assert_array_equal(discounted_returns([0.0, -4.0], 0.5, [False, False]), [-4.0, -4.0])
    assert discounted_returns([], 0.5).shape == (0,)


def test_groups_by_hand() -> None:
    assert anchor_groups(["a", "b", "a", "a"], [0, 0, 0, 1]) == [0, 1, 0, 2]
    texts = ["you see a cup", "you see a cap", "nothing here", "you see a cup"]
    assert anchor_groups(texts, [0, 0, 0, 1], similarity=0.9) == [0, 0, 1, 2]
    assert anchor_groups(texts, [0] * 4, similarity=0.99) == [0, 1, 2, 0]


def test_the_first_group_that_is_similar_enough_is_taken() -> None:
    # "abcx" has the ratio 0.75 to both founders, which have 0.5 to each other
    assert anchor_groups(["abcd", "abyx", "abcx"], [0] * 3, similarity=0.7) == [0, 1, 0]


def test_joint_advantages_by_hand() -> None:
    # Both episodes begin in `door`. One wins at once, the other walks around and fails.
    won = made([turn(10.0, "door")], StopReason.SUCCESS)
    lost = made([turn(0.0, "door"), turn(0.0, "yard")], StopReason.STEP_LIMIT)
    # lost: R = -1 - 6 * 0.2 = -2.2. From the door on, -1 - 0.2 / (1 - 0.5) for failing and 0.2 + 0.5 * 0.2 for two
    # steps that cost nothing: -1.1.
    options: Any = {"gamma": 0.5, "std": "none", "step_std": "none"}
    first, second = turn_advantages(group(won, lost), COSTS, weight=2.0, **options)
    np.testing.assert_allclose(first, [6.1 + 2 * 5.55])
    np.testing.assert_allclose(second, [-6.1 - 2 * 5.55, -6.1])
    first, second = turn_advantages(group(won, lost), COSTS, weight=0.0, **options)
    np.testing.assert_allclose([*first, *second], [6.1, -6.1, -6.1])
    # over rows the mean return is (10 - 2.2 - 2.2) / 3
    first, second = turn_advantages(group(won, lost), COSTS, weight=0.0, statistics="rows", **options)
    np.testing.assert_allclose([*first, *second], [8.1333333, -4.0666667, -4.0666667], rtol=1e-6)


def test_an_executor_s_state_has_the_active_subgoal() -> None:
    """The same observation under another sub-goal is another state."""
    turns = [turn(0.0, "hall"), turn(0.0, "hall")]
    fast = made([turn(10.0, "hall")], StopReason.SUCCESS, ["find"])
    slow = made(turns, StopReason.FAILURE, ["find", "put"])
    flat = made(turns, StopReason.FAILURE)
    options: Any = {"gamma": 1.0, "weight": 1.0, "std": "none", "step_std": "none"}
    _, split = turn_advantages(group(fast, slow), COSTS, **options)
    _, whole = turn_advantages(group(made([turn(10.0, "hall")], StopReason.SUCCESS), flat), COSTS, **options)
    assert split[1] == group_relative([10.0, slow.ret], "none")[1], "alone under its sub-goal"
    assert whole[1] < split[1]


def test_an_episode_without_turns_counts_in_the_group() -> None:
    episodes = [made([turn(10.0)], StopReason.SUCCESS), made([], StopReason.CONTEXT_LIMIT)]
    first, second = turn_advantages(group(*episodes), COSTS, gamma=0.9, weight=1.0, std="none")
    np.testing.assert_allclose(first, [(10.0 - episodes[1].ret) / 2])
    assert len(second) == 0


# ---- properties

reward = st.floats(COSTS.worst_step, 1.0)
history = st.lists(reward, min_size=1, max_size=LIMIT)


@pytest.mark.parametrize("std", STDS)
@given(size=st.integers(1, 5), rewards=history, won=st.booleans(), gamma=st.floats(0.1, 1.0), weight=st.floats(0, 3))
def test_groups_without_variance_contribute_exactly_zero(
    std: Any, size: int, rewards: list[float], won: bool, gamma: float, weight: float
) -> None:
    """Episodes that are equal in every reward, at both levels and with either statistics."""
    stop = StopReason.SUCCESS if won else StopReason.FAILURE
    episodes = [made([turn(value, str(n)) for n, value in enumerate(rewards)], stop) for _ in range(size)]
    for statistics in ("trajectories", "rows"):
        settings: Any = {"std": std, "step_std": std, "statistics": statistics}
        advantages = turn_advantages(group(*episodes), COSTS, gamma=gamma, weight=weight, **settings)
        assert not np.concatenate(advantages).any()


@given(st.lists(st.lists(reward, min_size=1, max_size=LIMIT), min_size=2, max_size=5), st.floats(0.1, 1.0))
def test_states_met_once_have_no_step_advantage(histories: list[list[float]], gamma: float) -> None:
    episodes = [
        made([turn(value, f"{n}/{t}") for t, value in enumerate(rewards)], StopReason.FAILURE)
        for n, rewards in enumerate(histories)
    ]
    with_steps = turn_advantages(group(*episodes), COSTS, gamma=gamma, weight=5.0)
    without = turn_advantages(group(*episodes), COSTS, gamma=gamma, weight=0.0)
    np.testing.assert_array_equal(np.concatenate(with_steps), np.concatenate(without))
