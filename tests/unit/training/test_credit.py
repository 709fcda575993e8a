import copy
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from himac.errors import ConfigError
from himac.models.policy import Policy
from himac.training import forward
from himac.training.credit import hellinger, redistribute
from himac.training.learner import Learner, LearnerSettings
from himac.training.packing import pack
from support.training_rows import learner_config, sampled_rows, tiny_model

seeds = st.integers(0, 10_000)
temperatures = st.sampled_from([0.05, 0.5, 3.0])


def case(seed: int, rows: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Advantages that are constant in each row, distances, entropies and rows of some tokens."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(0, rows, (17,), generator=generator).sort().values
    advantage = torch.randn(rows, generator=generator, dtype=torch.float64)[row]
    distance, entropy = torch.rand(2, 17, generator=generator, dtype=torch.float64)
    return advantage, distance, 3 * entropy, row


def sums(values: Tensor, row: Tensor) -> Tensor:
    return torch.zeros(int(row.max()) + 1, dtype=values.dtype).index_add_(0, row, values)


@given(seed=seeds, temperature=temperatures)
def test_every_row_keeps_its_sum_and_sign(seed: int, temperature: float) -> None:
    advantage, distance, entropy, row = case(seed)
    moved = redistribute(advantage, distance, entropy, row, temperature)
    torch.testing.assert_close(sums(moved, row), sums(advantage, row))
    assert (moved.sign() == advantage.sign()).all()


@given(seed=seeds, temperature=temperatures)
def test_no_deviation_leaves_everything_as_it_is(seed: int, temperature: float) -> None:
    advantage, distance, entropy, row = case(seed)
    torch.testing.assert_close(redistribute(advantage, 0 * distance, entropy, row, temperature), advantage)
    torch.testing.assert_close(redistribute(advantage, distance, 0 * entropy, row, temperature), advantage)


@given(seed=seeds)
def test_gated_distance_orders_the_tokens_of_a_row(seed: int) -> None:
    advantage, distance, entropy, row = case(seed, rows=2)
    moved = redistribute(advantage, distance, entropy, row, 0.3)
    for number in row.unique():
        own = row == number
        order = (distance * entropy)[own].argsort()
        size = moved[own].abs()[order]
        assert (size.diff() >= -1e-12).all()


@given(seed=seeds)
def test_credit_stays_within_tokens_of_one_advantage(seed: int) -> None:
    """Turns with advantages of their own keep their sums; one advantage a token leaves nothing to move."""
    _, distance, entropy, row = case(seed)
    turn = torch.arange(len(row)) // 3
    per_turn = torch.randn(int(turn.max()) + 1, dtype=torch.float64)[turn]
    moved = redistribute(per_turn, distance, entropy, torch.zeros_like(row), 0.2)
    torch.testing.assert_close(sums(moved, turn), sums(per_turn, turn))
    distinct = torch.linspace(-1, 1, len(row), dtype=torch.float64)
    torch.testing.assert_close(redistribute(distinct, distance, entropy, row, 0.2), distinct)


def test_by_hand() -> None:
    # gates 1, 1/2, 0; scores 0.8, 0.4, 0 over 0.4: weights e^2, e, 1
    weights = np.exp([2.0, 1.0, 0.0])
    moved = redistribute(
        torch.full((3,), 2.0), torch.full((3,), 0.8), torch.tensor([1.0, 0.5, 0.0]), torch.zeros(3, dtype=int), 0.4
    )
    np.testing.assert_allclose(moved.numpy(), 2 * 3 * weights / weights.sum(), rtol=1e-5)
    nothing = torch.zeros(0)
    assert redistribute(nothing, nothing, nothing, torch.zeros(0, dtype=int)).shape == (0,)


def test_hellinger() -> None:
    p, q = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert hellinger(p.log(), q.log()).tolist() == pytest.approx([0.0, 1.0])
    half = hellinger(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]).log())
    assert half.item() == pytest.approx(np.sqrt(1 - np.sqrt(0.5)))


def test_deviation_equals_a_plain_computation(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other, rows = tiny_model(5), sampled_rows(model, count=3)
    (batch,) = pack(rows, 1000)
    whole = forward.deviation(model, lambda: nullcontext(other), batch, temperature=0.7)
    monkeypatch.setattr(forward, "_LOGITS_AT_ONCE", 32 * 2)  # two tokens at a time
    cut = forward.deviation(model, lambda: nullcontext(other), batch, temperature=0.7)
    distances, entropies = [], []
    for index in batch.indices:
        row = rows[index]
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
        with torch.no_grad():
            p, q = (torch.softmax(one(input_ids=ids).logits[0, :-1].double() / 0.7, -1) for one in (model, other))
        chosen = torch.from_numpy(row.loss_mask[1:])
        distances.append((1 - (p * q).sqrt().sum(-1)).sqrt()[chosen])
        entropies.append(-(p * p.log()).sum(-1)[chosen])
    for found in (whole, cut):
        torch.testing.assert_close(found[0].double(), torch.cat(distances), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found[1].double(), torch.cat(entropies), rtol=1e-4, atol=1e-5)


def dgpo(**changes: Any) -> LearnerSettings:
    return learner_config(**({"credit": "dgpo", "credit_temperature": 0.05} | changes))


def test_the_learner_credits_its_rows(model: Any) -> None:
    rows = sampled_rows(model)
    learner = Learner(Policy(model), dgpo(max_tokens_per_microbatch=20), ref_model=tiny_model(5))
    credited = learner._credited(rows)
    for row, found in zip(rows, credited, strict=True):
        assert not found.advantages[~row.loss_mask].any()  # forced and given tokens get nothing
        assert found.advantages.sum() == pytest.approx(row.advantages.sum(), rel=1e-4, abs=1e-5)
    spread = [np.ptp(row.advantages[row.loss_mask]) for row in credited if row.loss_mask.sum() > 1]
    assert max(spread) > 0.05
    before = copy.deepcopy(model)
    learner.update(rows)
    plain = Learner(Policy(before), dgpo(credit="uniform"))
    plain.update(rows)
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_at_the_reference_the_update_is_the_uniform_one(model: Any) -> None:
    rows, twin = sampled_rows(model), copy.deepcopy(model)
    Learner(Policy(model), dgpo()).update(rows)
    Learner(Policy(twin), dgpo(credit="uniform")).update(rows)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_it_stands_in_place_of_the_kl_term() -> None:
    with pytest.raises(ConfigError, match="kl_coef=0"):
        dgpo(kl_coef=0.1)
