# ruff: noqa: N803, N806
import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from himac.algos.losses import (
    AggregationMode,
    kl_penalty,
    policy_loss,
    row_weights,
    value_loss,
)
from support.golden import algorithm_cases
from support.verl_forms import aggregate, aggregate_flat, flatten

MODES: tuple[Any, ...] = get_args(AggregationMode)


def close(actual: Tensor, expected: Any, name: str = "") -> None:
    rtol, atol = (1e-5, 1e-6) if actual.dtype == torch.float32 else (1e-10, 1e-13)
    wanted = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, wanted, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}")


def random_case(seed: int, rows: int = 4, width: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log-probabilities, old ones, advantages (constant per row) and a mask whose last row is empty."""
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(rows, width, generator=generator, dtype=torch.float64) * 3
    new = (old + 0.5 * torch.randn(rows, width, generator=generator, dtype=torch.float64)).requires_grad_()
    advantage = torch.randn(rows, 1, generator=generator, dtype=torch.float64).expand(rows, width)
    mask = torch.rand(rows, width, generator=generator) < 0.6
    mask[0, 0] = True
    mask[-1] = False
    return new, old, advantage, mask


# ---- recorded cases of the original


def test_kl_equals_the_recorded_original() -> None:
    for case in algorithm_cases("kl_penalty"):
        dtype = getattr(torch, case["inputs"]["dtype"])
        reference = torch.tensor(case["inputs"]["ref_logprob"], dtype=dtype)
        for kind, recorded in case["outputs"]["value"].items():
            logprob = torch.tensor(case["inputs"]["logprob"], dtype=dtype, requires_grad=True)
            value = kl_penalty(logprob, reference, kind)
            value.sum().backward()
            assert logprob.grad is not None
            close(value.detach(), recorded, kind)
            close(logprob.grad, case["outputs"]["grad_logprob"][kind], f"gradient of {kind}")
        close(
            kl_penalty(logprob.detach(), reference, "low_var_kl_upstream"), case["outputs"]["verl_upstream_low_var_kl"]
        )


@pytest.mark.parametrize("kind", ["policy_loss", "policy_loss_gspo"])
def test_policy_loss_equals_the_recorded_original(kind: str) -> None:
    for case in algorithm_cases(kind):
        inputs, outputs = case["inputs"], case["outputs"]
        dtype = getattr(torch, inputs["dtype"])
        sequence = kind == "policy_loss_gspo"
        mask = torch.tensor(inputs["response_mask"])
        low, high = (inputs[k] if inputs[k] is not None else inputs["cliprange"] for k in LOW_HIGH)
        for mode, recorded in {"seq-mean-token-mean": outputs}.items() if sequence else outputs.items():
            logprob = torch.tensor(inputs["log_prob"], dtype=dtype, requires_grad=True)
            logprob_N, row_N = flatten(logprob, mask)
            old_N, _ = flatten(torch.tensor(inputs["old_log_prob"], dtype=dtype), mask)
            advantage_N, _ = flatten(torch.tensor(inputs["advantages"], dtype=dtype), mask)
            terms = policy_loss(
                logprob_N,
                old_N,
                advantage_N,
                clip_low=low,
                clip_high=high,
                dual_clip=None if sequence else inputs["clip_ratio_c"],
                ratio="sequence" if sequence else "token",
                row_N=row_N,
            )
            rows, width = mask.shape
            # The original adds 1e-8 to the token count of its masked means, and counts rows without tokens.
            loss = aggregate_flat(
                terms.loss_N, row_N, rows, mode, horizon=width, count_empty=True, eps=EPS_AGENT.get(mode, 0.0)
            )
            loss.backward()
            assert logprob.grad is not None
            close(loss.detach(), recorded["pg_loss"], f"{case['case']} {mode}")
            close(logprob.grad, recorded["grad_log_prob"], f"{case['case']} {mode} gradient")

            def mean(values_N: Tensor, row_N: Tensor = row_N, rows: int = rows, dtype: torch.dtype = dtype) -> Tensor:
                return aggregate_flat(values_N.to(dtype), row_N, rows, "token-mean", eps=1e-8)

            close(mean(terms.clipped_N), recorded["pg_clipfrac"], "clip fraction")
            close(mean(-terms.log_ratio_N), recorded["ppo_kl"], "approximate KL")
            if not sequence:
                close(mean(terms.dual_clipped_N), recorded["pg_clipfrac_lower"], "dual clip fraction")


# TRL's names. Dr. GRPO divides by rows times the longest completion, LUSPO weighs a row's mean by its length.
TRL_MODES: dict[str, AggregationMode] = {
    "grpo": "seq-mean-token-mean",
    "bnpo": "token-mean",
    "dapo": "token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
    "luspo": "seq-mean-token-sum",
}


def test_surrogate_and_aggregation_equal_trl() -> None:
    """Ratios of tokens and sequences, both clips and k3, with their gradients.

    CISPO is another surrogate. TRL's LUSPO counts padding unless both ratio and loss are of the sequence.
    """
    compared = 0
    for case in algorithm_cases("trl_grpo_loss"):
        inputs = case["inputs"]
        dtype = getattr(torch, inputs["dtype"])
        mask = torch.tensor(inputs["completion_mask"])
        assert inputs["num_items_in_batch"] == mask.sum()
        old_N, row_N = flatten(torch.tensor(inputs["old_per_token_logps"], dtype=dtype), mask)
        ref_N, _ = flatten(torch.tensor(inputs["ref_per_token_logps"], dtype=dtype), mask)
        for name, recorded in case["outputs"].items():
            ratio, kind = name.split("/")
            if kind == "cispo" or (kind == "luspo" and (ratio == "token" or inputs["beta"])):
                continue
            logprob = torch.tensor(inputs["per_token_logps"], dtype=dtype, requires_grad=True)
            logprob_N, _ = flatten(logprob, mask)
            loss_N = policy_loss(
                logprob_N,
                old_N,
                torch.tensor(inputs["advantages"], dtype=dtype)[row_N],
                clip_low=inputs["epsilon_low"],
                clip_high=inputs["epsilon_high"],
                dual_clip=inputs["delta"],
                ratio=ratio,  # type: ignore[arg-type]
                row_N=row_N,
            ).loss_N
            if inputs["beta"]:
                loss_N = loss_N + inputs["beta"] * kl_penalty(logprob_N, ref_N)
            horizon = len(mask) * inputs["max_completion_length"]
            loss = aggregate_flat(loss_N, row_N, len(mask), TRL_MODES[kind], horizon=horizon)
            loss.backward()
            assert logprob.grad is not None
            close(loss.detach(), recorded["loss"], f"{case['case']} {name}")
            close(logprob.grad, recorded["grad_per_token_logps"], f"{case['case']} {name} gradient")
            compared += 1
    assert compared == 10 * 8 + 6


LOW_HIGH = ("cliprange_low", "cliprange_high")
EPS_AGENT = {"token-mean": 1e-8}
EPS_UPSTREAM = {"seq-mean-token-mean": 1e-8}


def test_aggregation_equals_the_recorded_originals() -> None:
    for case in algorithm_cases("agg_loss"):
        dtype = getattr(torch, case["inputs"]["dtype"])
        loss = torch.tensor(case["inputs"]["loss_mat"], dtype=dtype)
        mask = torch.tensor(case["inputs"]["loss_mask"])
        for mode in MODES:
            ours = aggregate(loss, mask, mode, count_empty=True, eps=EPS_AGENT.get(mode, 0.0))
            recorded = case["outputs"]["verl_agent"][mode]
            if math.isnan(recorded):  # the older original divides 0 by 0 for a row without tokens
                assert ours.isfinite()
            else:
                close(ours, recorded, mode)
            upstream = aggregate(loss, mask, mode, eps=EPS_UPSTREAM.get(mode, 0.0))
            close(upstream, case["outputs"]["verl_upstream"][mode], mode)


def test_value_loss_equals_the_recorded_original() -> None:
    for case in algorithm_cases("value_loss"):
        inputs, outputs = case["inputs"], case["outputs"]
        dtype = getattr(torch, inputs["dtype"])
        value = torch.tensor(inputs["vpreds"], dtype=dtype, requires_grad=True)
        target, old = (torch.tensor(inputs[key], dtype=dtype) for key in ("returns", "values"))
        mask = torch.tensor(inputs["response_mask"])
        loss, clipped = value_loss(value, target, old, inputs["cliprange_value"])
        mean = aggregate(loss, mask, "token-mean", eps=EPS_AGENT["token-mean"])
        mean.backward()
        assert value.grad is not None
        close(mean.detach(), outputs["vf_loss"], f"{case['case']}")
        close(value.grad, outputs["grad_vpreds"], f"{case['case']} gradient")
        share = aggregate(clipped.float(), mask, "token-mean", eps=EPS_AGENT["token-mean"])
        close(share, outputs["vf_clipfrac"], "clip fraction")


# ---- values by hand


def test_kl_by_hand() -> None:
    # d = ln 2: k1 = ln 2, k2 = (ln 2)^2 / 2, k3 = 1/2 - 1 + ln 2
    logprob, reference = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    assert kl_penalty(logprob, reference, "k1").item() == pytest.approx(0.6931472)
    assert kl_penalty(logprob, reference, "k2").item() == pytest.approx(0.2402265)
    assert kl_penalty(logprob, reference, "k3").item() == pytest.approx(0.1931472)
    assert kl_penalty(torch.tensor([-20.0]), torch.tensor([-1.0])).item() == 10.0  # clamped


def test_policy_loss_by_hand() -> None:
    # ratios 2, 2, 0.5, 4 with advantages 1, -1, -1, -1 and clip 0.2, dual clip 3:
    # min(2, 1.2) -> loss -1.2; -A rho = 2; max(0.5, 0.8) = 0.8; min(4, 3) = 3
    new = torch.tensor([2.0, 2.0, 0.5, 4.0]).log()
    advantage = torch.tensor([1.0, -1.0, -1.0, -1.0])
    terms = policy_loss(new, torch.zeros(4), advantage, dual_clip=3.0)
    torch.testing.assert_close(terms.loss_N, torch.tensor([-1.2, 2.0, 0.8, 3.0]))
    assert terms.clipped_N.tolist() == [True, False, True, False]
    assert terms.dual_clipped_N.tolist() == [False, False, False, True]


def test_value_loss_by_hand() -> None:
    # targets 0, old 1, clip 0.5: V = 3 is plain 9 (clipped 2.25); V = 0 is pulled back to 0.5, 0.25; V = 1.2 is plain
    value, target, old = torch.tensor([3.0, 0.0, 1.2]), torch.zeros(3), torch.ones(3)
    loss, clipped = value_loss(value, target, old, 0.5)
    torch.testing.assert_close(loss, torch.tensor([9.0, 0.25, 1.44]))
    assert clipped.tolist() == [False, True, False]
    plain, untouched = value_loss(value, target, old)
    torch.testing.assert_close(plain, value.square())
    assert not untouched.any()


def test_sequence_ratio_is_the_geometric_mean_of_the_row() -> None:
    # row 0: ratios 4 and 1 -> 2, clipped at 1.2; row 1: ratio 1.1
    new = torch.tensor([4.0, 1.0, 1.1]).log()
    terms = policy_loss(new, torch.zeros(3), torch.ones(3), ratio="sequence", row_N=torch.tensor([0, 0, 1]))
    torch.testing.assert_close(terms.loss_N, torch.tensor([-1.2, -1.2, -1.1]))


def test_row_weights_by_hand() -> None:
    counts = torch.tensor([1, 3, 0])
    assert row_weights(counts, "token-mean").tolist() == [0.25, 0.25, 0.0]
    assert row_weights(counts, "seq-mean-token-sum").tolist() == [0.5, 0.5, 0.0]
    assert row_weights(counts, "seq-mean-token-mean").tolist() == pytest.approx([1 / 2, 1 / 6, 0.0])
    assert row_weights(counts, "seq-mean-token-sum-norm", horizon=10).tolist() == pytest.approx([0.1, 0.1, 0.0])


def test_nothing_trained_gives_zero() -> None:
    for mode in MODES:
        assert aggregate(torch.ones(2, 3), torch.zeros(2, 3), mode).item() == 0.0


# ---- properties


@given(seed=st.integers(0, 10_000), mode=st.sampled_from(MODES), ratio=st.sampled_from(["token", "sequence"]))
def test_masked_tokens_carry_no_gradient(seed: int, mode: Any, ratio: Any) -> None:
    new, old, advantage, mask = random_case(seed)
    logprob_N, row_N = flatten(new, mask)
    terms = policy_loss(logprob_N, old[mask], advantage[mask], ratio=ratio, row_N=row_N)
    loss = aggregate_flat(terms.loss_N + kl_penalty(logprob_N, old[mask]), row_N, len(new), mode, horizon=6)
    loss.backward()
    assert new.grad is not None
    assert not new.grad[~mask].any()


@given(seed=st.integers(0, 10_000), mode=st.sampled_from(MODES))
def test_flat_form_equals_the_matrix_definition(seed: int, mode: Any) -> None:
    new, _, _, mask = random_case(seed)
    loss = new.detach()
    sums, counts = (loss * mask).sum(1), mask.sum(1)
    filled = counts > 0
    expected = {
        "token-mean": sums.sum() / counts.sum(),
        "seq-mean-token-sum": sums[filled].mean(),
        "seq-mean-token-mean": (sums[filled] / counts[filled]).mean(),
        "seq-mean-token-sum-norm": sums.sum() / loss.shape[1],
    }[mode]
    torch.testing.assert_close(aggregate(loss, mask, mode), expected)
    order = torch.randperm(int(mask.sum()), generator=torch.Generator().manual_seed(seed))
    loss_N, row_N = flatten(loss, mask)
    shuffled = aggregate_flat(loss_N[order], row_N[order], len(loss), mode, horizon=loss.shape[1])
    torch.testing.assert_close(shuffled, expected)


@given(seed=st.integers(0, 10_000), mode=st.sampled_from(MODES))
def test_weighted_parts_add_up_to_the_whole(seed: int, mode: Any) -> None:
    new, _, _, mask = random_case(seed)
    loss = new.detach()
    weights = row_weights(mask.sum(1), mode, horizon=6)
    parts = sum((loss[i][mask[i]] * weights[i]).sum() for i in range(len(loss)))
    torch.testing.assert_close(parts, aggregate(loss, mask, mode, horizon=6))


@given(seed=st.integers(0, 10_000), ratio=st.sampled_from(["token", "sequence"]))
def test_on_policy_gradient_is_the_plain_policy_gradient(seed: int, ratio: Any) -> None:
    new, _, advantage, mask = random_case(seed)
    logprob_N, row_N = flatten(new, mask)
    terms = policy_loss(logprob_N, logprob_N.detach(), advantage[mask], ratio=ratio, row_N=row_N, dual_clip=3.0)
    terms.loss_N.sum().backward()
    assert new.grad is not None
    torch.testing.assert_close(new.grad[mask], -advantage[mask])


@given(seed=st.integers(0, 10_000))
def test_zero_advantage_gives_zero_loss_and_gradient(seed: int) -> None:
    new, old, _, mask = random_case(seed)
    logprob_N, _ = flatten(new, mask)
    terms = policy_loss(logprob_N, old[mask], torch.zeros_like(old[mask]))
    terms.loss_N.sum().backward()
    assert new.grad is not None
    assert not terms.loss_N.any()
    assert not new.grad.any()


@given(seed=st.integers(0, 10_000))
def test_k2_and_k3_are_never_negative_and_zero_when_equal(seed: int) -> None:
    new, old, _, _ = random_case(seed)
    for kind in ("k2", "k3", "abs"):
        assert (kl_penalty(new, old, kind) >= 0).all()
        assert not kl_penalty(old, old, kind).any()


def test_masked_values_that_are_not_finite_are_ignored() -> None:
    loss = torch.tensor([[1.0, float("nan")], [3.0, float("inf")]])
    assert aggregate(loss, torch.tensor([[1, 0], [1, 0]]), "token-mean").item() == 2.0


# ---- refusals


def test_wrong_input_is_refused() -> None:
    ones = torch.ones(2)
    with pytest.raises(AssertionError, match="shapes differ"):
        kl_penalty(ones, torch.ones(3))
    with pytest.raises(AssertionError, match="vector"):
        policy_loss(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2))
    with pytest.raises(AssertionError, match="dtypes differ"):
        policy_loss(ones, ones.double(), ones)
    with pytest.raises(ValueError, match="row_N"):
        policy_loss(ones, ones, ones, ratio="sequence")
    with pytest.raises(ValueError, match="dual_clip"):
        policy_loss(ones, ones, ones, dual_clip=0.5)
    with pytest.raises(ValueError, match="unknown ratio"):
        policy_loss(ones, ones, ones, ratio="typo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown KL"):
        kl_penalty(ones, ones, "typo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown aggregation"):
        row_weights(torch.ones(2), "typo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="horizon"):
        row_weights(torch.ones(2), "seq-mean-token-sum-norm")
