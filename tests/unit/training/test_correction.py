import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from himac.config import Config
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.models.policy import Policy
from himac.training.correction import importance_weights
from himac.training.learner import Learner
from support.training_rows import learner_config, logprobs, make_row, tiny_model

logprob = st.floats(-8, 0, allow_subnormal=False)
pairs = st.lists(st.tuples(logprob, logprob), min_size=1, max_size=9)
caps = st.floats(1, 10)


def split(tokens: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    old, sampler = torch.tensor(tokens, dtype=torch.float64).T
    return old, sampler


def test_values() -> None:
    old = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).log()
    sampler = torch.tensor([0.4, 0.5, 0.3], dtype=torch.float64).log()
    # The ratios are 0.5, 1 and 3, and 1.5 together.
    assert importance_weights(old, sampler, "token", 2.0).tolist() == pytest.approx([0.5, 1.0, 2.0])
    assert importance_weights(old, sampler, "sequence", 2.0).tolist() == pytest.approx([1.5] * 3)
    assert importance_weights(old, sampler, "sequence", 1.2).tolist() == pytest.approx([1.2] * 3)
    assert importance_weights(old, sampler, "none", 2.0).tolist() == [1.0] * 3


@given(tokens=pairs, cap=caps, kind=st.sampled_from(["token", "sequence"]))
def test_weights_are_truncated_ratios(tokens: list[tuple[float, float]], cap: float, kind: Any) -> None:
    old, sampler = split(tokens)
    weights = importance_weights(old, sampler, kind, cap)
    assert ((weights >= 0) & (weights <= cap)).all()
    ratios = [math.exp(a - b) for a, b in tokens]
    whole = [math.prod(ratios)] * len(tokens) if kind == "sequence" else ratios
    assert weights.tolist() == pytest.approx([min(ratio, cap) for ratio in whole], rel=1e-9)
    assert (importance_weights(old, old, kind, cap) == 1).all()


@given(chances=st.lists(st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)), min_size=2, max_size=6))
def test_token_weights_turn_an_expectation_of_the_sampler_into_one_of_the_policy(
    chances: list[tuple[float, float]],
) -> None:
    """E_sampler[w f] = E_policy[f] where no weight is truncated: here for f = 0, 1, 2, ... on the tokens."""
    old, sampler = (column / column.sum() for column in torch.tensor(chances, dtype=torch.float64).T)
    weights = importance_weights(old.log(), sampler.log(), "token", 1e9)
    f = torch.arange(len(chances), dtype=torch.float64)
    torch.testing.assert_close((sampler * weights * f).sum(), (old * f).sum())
    # Truncated, it is at most that.
    assert (sampler * importance_weights(old.log(), sampler.log(), "token", 1.0)).sum() <= 1 + 1e-12


def update(shift: float, **settings: Any) -> dict[str, float]:
    """Metrics of one step on a row whose sampler's log-probabilities are off by `shift`."""
    policy = Policy(tiny_model(3))
    row = make_row([1, 2, 3, 4], [0, 0, 1, 1])
    told = [0.0, *(logprobs(policy.model, row) + shift).tolist()]
    row = make_row([1, 2, 3, 4], [0, 0, 1, 1], 1.0, told)
    learner = Learner(policy, learner_config(lr=1e-3, optimizer="adamw", **settings))
    return learner.update([row])


def test_the_learner_weighs_advantages_and_starts_from_its_own_policy() -> None:
    shift = math.log(2.0)  # the sampler says twice the probability: weights of one half
    metrics = update(shift, correction="token")
    assert metrics["correction_mean"] == pytest.approx(0.5, abs=1e-5)
    assert metrics["correction_capped"] == 0
    assert metrics["logprob_gap_mean"] == pytest.approx(shift, abs=1e-5)
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-6)  # of the policy to itself
    assert metrics["policy_loss"] == pytest.approx(-0.5, abs=1e-5)  # -w A rho with rho 1
    plain = update(shift)
    assert plain["policy_loss"] == pytest.approx(-0.5, abs=1e-5)  # -A rho with rho 1/2: the same, but for its clip
    assert plain["approx_kl"] == pytest.approx(shift, abs=1e-5)
    both = update(shift, correction="sequence")
    assert both["correction_mean"] == pytest.approx(0.25, abs=1e-5)  # of two tokens
    capped = update(-shift, correction="sequence", correction_cap=3.0)
    assert (capped["correction_mean"], capped["correction_capped"]) == (pytest.approx(3.0), 1.0)


def test_where_sampler_and_policy_agree_nothing_changes() -> None:
    plain = update(0.0)
    for kind in ("token", "sequence"):
        corrected = update(0.0, correction=kind)
        for name in ("policy_loss", "loss", "grad_norm", "approx_kl", "logprob_gap_mean"):
            assert corrected[name] == pytest.approx(plain[name], abs=1e-5), name


def test_it_is_off_unless_asked_for() -> None:
    assert Config().train.learner.correction == "none"
    with pytest.raises(ConfigError, match=r"correction_cap"):
        load_config(None, ["train.learner.correction_cap=0.5"])
