from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.errors import TrainingError
from himac.training.packing import check_rows, pack, plan
from himac.types import Role, Row
from support.training_rows import make_row


def test_positions_targets_and_rows_by_hand() -> None:
    # row 0:  5  6  7  8     row 1:  1  2  3  4  9
    # mask    .  .  1  1             .  1  .  .  1
    rows = [make_row([5, 6, 7, 8], [0, 0, 1, 1], 2.0), make_row([1, 2, 3, 4, 9], [0, 1, 0, 0, 1], -1.0)]
    (batch,) = pack(rows, 100)
    assert batch.indices == (1, 0)  # the longer row comes first
    assert batch.lengths == (5, 4)
    assert batch.input_ids_N.tolist() == [1, 2, 3, 4, 9, 5, 6, 7, 8]
    assert batch.predict_M.tolist() == [0, 3, 6, 7]
    assert batch.target_M.tolist() == [2, 9, 7, 8]
    assert batch.advantage_M.tolist() == [-1.0, -1.0, 2.0, 2.0]
    assert batch.row_M.tolist() == [0, 0, 1, 1]


@given(lengths=st.lists(st.integers(1, 40), max_size=30), budget=st.integers(1, 60))
def test_plan_is_a_partition_within_the_budget(lengths: list[int], budget: int) -> None:
    parts = plan(lengths, budget)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        assert part
        assert sum(lengths[i] for i in part) <= budget or len(part) == 1
    ordered = [lengths[i] for part in parts for i in part]
    assert ordered == sorted(lengths, reverse=True)


@given(seed=st.integers(0, 1000), budget=st.integers(1, 40))
def test_every_trained_token_survives_once(seed: int, budget: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(rng.integers(1, 8)):
        length = int(rng.integers(1, 12))
        mask = rng.random(length) < 0.5
        mask[0] = False
        old = np.where(mask, rng.normal(size=length), 0.0)
        rows.append(make_row(rng.integers(0, 99, length).tolist(), mask.tolist(), float(n), old.tolist()))
    seen: list[tuple[int, int, float, float]] = []
    for batch in pack(rows, budget):
        assert len(batch.input_ids_N) == sum(batch.lengths)
        starts = np.concatenate([[0], np.cumsum(batch.lengths)])
        for position, target, old, advantage, row in zip(
            batch.predict_M.tolist(),
            batch.target_M.tolist(),
            batch.old_logprob_M.tolist(),
            batch.advantage_M.tolist(),
            batch.row_M.tolist(),
            strict=True,
        ):
            assert starts[row] <= position < starts[row + 1] - 1  # never predicts across a row's end
            assert batch.input_ids_N[position + 1] == target
            seen.append((batch.indices[row], position + 1 - int(starts[row]), old, advantage))
    expected = [
        (i, int(t), float(row.old_logprobs[t]), float(row.advantages[t]))
        for i, row in enumerate(rows)
        for t in np.flatnonzero(row.loss_mask)
    ]
    assert sorted(seen) == sorted(expected)


def test_bad_rows_are_refused() -> None:
    good = make_row([1, 2], [0, 1])
    check_rows([good])
    cases: list[tuple[Any, str]] = [
        (make_row([1, 2], [1, 1]), "first token"),
        (make_row([1, 2], [0, 1], float("nan")), "advantage that is not finite"),
        (make_row([1, 2], [0, 1], old=[0.0, float("-inf")]), "log-probability that is not finite"),
        (make_row([], []), "shapes"),
        (make_row([1, 2], [0, 1], old=[0.0]), "shapes"),
    ]
    for row, message in cases:
        with pytest.raises(TrainingError, match=message):
            check_rows([good, row])


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(TrainingError, match="positive"):
        plan([1], 0)


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_supervised_weights_must_be_sound(weight):
    ids = np.array([1, 2, 3], dtype=np.int32)
    mask = np.array([False, True, True])
    zeros = np.zeros(3, dtype=np.float32)
    row = Row(ids, mask, zeros, np.array([0, 1, weight], dtype=np.float32), Role.FLAT, "g")
    with pytest.raises(TrainingError, match="token weight"):
        check_rows([row], supervised=True)
