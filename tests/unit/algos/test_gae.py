from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.algos.gae import gae, turn_rewards, whiten
from support.golden import algorithm_cases

vectors = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12).map(
    lambda pairs: tuple(np.array(part) for part in zip(*pairs, strict=True))
)
rates = st.floats(0, 1)


@pytest.mark.parametrize("original", ["verl_agent", "verl_upstream"])
def test_equals_the_recorded_originals(original: str) -> None:
    """The fork counts observations as steps of its recursion, upstream skips them: here they are left out before."""
    for case in algorithm_cases("gae"):
        inputs, recorded = case["inputs"], case["outputs"][original]
        mask = np.array(inputs["response_mask"]) > 0
        rewards, values = np.array(inputs["token_level_rewards"]), np.array(inputs["values"])
        advantages, returns = np.zeros_like(values), np.zeros_like(values)
        for row in range(len(values)):
            own = mask[row] if original == "verl_upstream" else np.ones_like(mask[row])
            pair = gae(rewards[row, own], values[row, own], inputs["gamma"], inputs["lam"])
            advantages[row, own], returns[row, own] = pair
        single = inputs["dtype"] == "float32"
        # The originals add 1e-8 to the number of tokens that they divide by.
        tolerance = 1e-6 if single else 2e-9
        np.testing.assert_allclose(whiten(advantages[mask]), np.array(recorded["advantages"])[mask], atol=tolerance)
        np.testing.assert_allclose(returns[mask], np.array(recorded["returns"])[mask], atol=1e-6 if single else 1e-12)


def test_by_hand() -> None:
    # gamma lam = 1/4: delta = 1 + 1 - 2 = 0, 4 - 2 = 2; A_0 = 0 + 2 / 4
    advantages, returns = gae([1.0, 4.0], [2.0, 2.0], gamma=0.5, lam=0.5)
    assert advantages.tolist() == [0.5, 2.0]
    assert returns.tolist() == [2.5, 4.0]
    assert [len(part) for part in gae([], [])] == [0, 0]


@given(case=vectors, gamma=rates)
def test_lambda_one_trusts_the_rewards(case: Any, gamma: float) -> None:
    rewards, values = case
    advantages, returns = gae(rewards, values, gamma, 1.0)
    discounted = [sum(gamma**k * r for k, r in enumerate(rewards[t:])) for t in range(len(rewards))]
    np.testing.assert_allclose(returns, discounted, atol=1e-9)
    np.testing.assert_allclose(advantages, returns - values, atol=1e-9)


@given(case=vectors, gamma=rates)
def test_lambda_zero_trusts_the_critic(case: Any, gamma: float) -> None:
    rewards, values = case
    _, returns = gae(rewards, values, gamma, 0.0)
    np.testing.assert_allclose(returns, rewards + gamma * np.append(values[1:], 0.0), atol=1e-9)


@given(case=vectors, gamma=rates, lam=rates)
def test_a_perfect_critic_leaves_no_advantage(case: Any, gamma: float, lam: float) -> None:
    rewards, _ = case
    values = np.zeros_like(rewards)
    for t in range(len(rewards) - 1, -1, -1):
        values[t] = rewards[t] + gamma * (values[t + 1] if t + 1 < len(values) else 0.0)
    np.testing.assert_allclose(gae(rewards, values, gamma, lam)[0], 0.0, atol=1e-9)


def test_whiten() -> None:
    np.testing.assert_allclose(whiten([1.0, 2.0, 3.0]), [-1.0, 0.0, 1.0], atol=1e-7)
    assert whiten([5.0]).tolist() == [0.0]
    assert whiten([]).tolist() == []
    assert whiten([2.0, 2.0]).tolist() == [0.0, 0.0]


def test_rewards_are_paid_at_the_last_own_token_of_each_turn() -> None:
    # turns end at 4 (own tokens 2, 3), 7 (own token 5, the rest forced) and 9 (nothing of its own: paid at 5, too)
    mask = np.array([0, 0, 1, 1, 0, 1, 0, 0, 0], dtype=bool)
    rewards = turn_rewards([4, 7, 9], [1.0, 2.0, 4.0], mask)
    assert rewards.tolist() == [0, 0, 0, 1, 0, 6, 0, 0, 0]
    assert not turn_rewards([1], [3.0], mask).any()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(AssertionError, match="vector"):
        gae(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(AssertionError, match="differ"):
        gae([1.0], [1.0, 2.0])
