from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.algos.advantages import group_relative, relative_by_group, rloo
from himac.rollout.returns import all_equal
from support.golden import algorithm_cases
from support.verl_forms import outcome_advantages, verl_eps

returns = st.lists(st.floats(-100, 100, allow_nan=False, width=32), min_size=2, max_size=12)
spread_returns = returns.filter(lambda r: np.ptp(r) > 1e-2)


def test_population_standard_deviation_by_hand() -> None:
    # mean 0.5, population variance 0.25, so (+-0.5) / (0.5 + 0.5) = +-0.5
    np.testing.assert_allclose(group_relative([0, 1, 1, 0], eps=0.5), [-0.5, 0.5, 0.5, -0.5], rtol=0, atol=1e-15)


def test_sample_standard_deviation_by_hand() -> None:
    # mean 2, sample variance (1 + 0 + 1) / 2 = 1
    np.testing.assert_allclose(group_relative([1, 2, 3], "sample", eps=0.0), [-1, 0, 1], rtol=0, atol=1e-15)


def test_without_standard_deviation_the_returns_are_only_centred() -> None:
    np.testing.assert_array_equal(group_relative([1.0, 2.0, 6.0], "none"), [-2.0, -1.0, 3.0])


def test_leave_one_out_by_hand() -> None:
    # 1 - (2 + 6) / 2 = -3, 2 - 7 / 2 = -1.5, 6 - 3 / 2 = 4.5
    np.testing.assert_allclose(rloo([1.0, 2.0, 6.0]), [-3.0, -1.5, 4.5], rtol=0, atol=1e-14)


@pytest.mark.parametrize("std", ["population", "sample", "none"])
@given(value=st.floats(-1e6, 1e6), size=st.integers(1, 16))
def test_equal_returns_give_exactly_zero(std: Any, value: float, size: int) -> None:
    assert not group_relative([value] * size, std).any()
    assert not rloo([value] * size).any()


def test_returns_that_differ_by_rounding_are_equal() -> None:
    assert all_equal([0.1 + 0.2, 0.3])
    assert not group_relative([0.1 + 0.2, 0.3], eps=0.0).any()


@given(values=spread_returns, shift=st.floats(-100, 100))
def test_shift_invariance(values: list[float], shift: float) -> None:
    shifted = np.array(values, np.float64) + shift
    np.testing.assert_allclose(group_relative(shifted), group_relative(values), atol=1e-7)
    np.testing.assert_allclose(rloo(shifted), rloo(values), atol=1e-9)


@given(values=spread_returns, scale=st.floats(0.1, 50))
def test_scale_invariance_with_std_and_proportionality_without(values: list[float], scale: float) -> None:
    scaled = np.array(values, np.float64) * scale
    np.testing.assert_allclose(group_relative(scaled, eps=0.0), group_relative(values, eps=0.0), atol=1e-9)
    np.testing.assert_allclose(group_relative(scaled, "none"), scale * group_relative(values, "none"), atol=1e-9)


@given(values=spread_returns)
def test_mean_zero_unit_variance_and_order(values: list[float]) -> None:
    advantages = group_relative(values, eps=0.0)
    assert abs(advantages.mean()) < 1e-9
    assert advantages.std() == pytest.approx(1.0)
    assert (np.diff(advantages[np.argsort(values)]) >= 0).all()


@given(values=returns)
def test_leave_one_out_is_the_scaled_centred_return(values: list[float]) -> None:
    size = len(values)
    expected = [v - (sum(values) - v) / (size - 1) for v in values]
    np.testing.assert_allclose(rloo(values), expected, atol=1e-6)


def test_groups_do_not_mix() -> None:
    advantages = relative_by_group([0.0, 10.0, 1.0, 11.0, 5.0], [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(advantages[[0, 2]], group_relative([0.0, 1.0]))
    np.testing.assert_array_equal(advantages[[1, 3]], group_relative([10.0, 11.0]))
    assert advantages[4] == 0.0


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [float("inf")]])
def test_returns_that_are_not_finite_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        group_relative(bad)


def test_rank_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(AssertionError, match="vector"):
        group_relative(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="unknown std"):
        group_relative([0.0, 1.0], "typo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many groups"):
        relative_by_group([1.0], [])


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_equals_the_recorded_original(estimator: Any) -> None:
    for case in algorithm_cases(f"{estimator}_outcome"):
        inputs = case["inputs"]
        scores = np.array(inputs["token_level_rewards"], inputs["dtype"]).sum(-1)
        mask = np.array(inputs["response_mask"], np.float64)
        rtol, atol = (1e-5, 2e-6) if inputs["dtype"] == "float32" else (1e-10, 1e-12)
        for key, recorded in case["outputs"].items():
            options = dict(part.split("=") for part in key.split(","))
            scaled, eps = options.get("norm_adv_by_std") == "True", inputs["epsilon"]
            grpo = partial(group_relative, std="sample" if scaled else "none", eps=eps)
            actual = outcome_advantages(
                scores,
                inputs["index"],
                None if options["cross_steps"] == "True" else inputs["traj_index"],
                grpo if estimator == "grpo" else rloo,
                verl_eps(eps) if scaled else 1.0,
            )
            np.testing.assert_allclose(
                actual[:, None] * mask, recorded, rtol=rtol, atol=atol, err_msg=f"{case['case']} {key}"
            )
