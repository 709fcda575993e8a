"""The critic inside the learner."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from himac.errors import CheckpointError, TrainingError
from himac.models.policy import Policy
from himac.training.checkpoint import load_latest, save_checkpoint
from himac.training.learner import Learner, LearnerSettings
from himac.training.packing import check_rows, pack
from himac.training.value import VALUE_FILE, head_weights
from himac.types import Row, ValueTargets
from support.training_rows import learner_config, make_row, sampled_rows

CLOCK = ("update_s", "tokens_per_s")


def config(**changes: Any) -> LearnerSettings:
    return learner_config(**({"value_heads": 2, "value_coef": 0.5} | changes))


def valued(rows: list[Row], heads: int = 2, seed: int = 0) -> list[Row]:
    """The rows with random targets on some tokens; the last row has none."""
    rng = np.random.default_rng(seed)
    result = []
    for row in rows[:-1]:
        mask = rng.random((len(row.input_ids), heads)) < 0.6
        mask[0], mask[1] = False, True
        old, target = rng.normal(size=(2, *mask.shape)).astype(np.float32)
        result.append(replace(row, value=ValueTargets(mask, old, target)))
    return [*result, rows[-1]]


def without_advantages(rows: list[Row]) -> list[Row]:
    return [replace(row, advantages=np.zeros_like(row.advantages)) for row in rows]


def trunk(learner: Learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in learner.model.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def with_random_heads(model: Any, cfg: LearnerSettings) -> Learner:
    learner = Learner(Policy(model), cfg)
    assert learner.heads is not None
    torch.manual_seed(1)
    torch.nn.init.normal_(learner.heads.linear.weight)
    torch.nn.init.normal_(learner.heads.linear.bias)
    return learner


@pytest.mark.parametrize("budget", [1, 25, 10_000])
def test_a_value_is_that_of_the_state_before_the_token(model: Any, budget: int) -> None:
    rows = sampled_rows(model)
    assert not any(values.any() for values in Learner(Policy(model), config()).values(rows))  # heads start as zero
    learner = with_random_heads(model, config(max_tokens_per_microbatch=budget))
    for row, values in zip(rows, learner.values(rows), strict=True):
        assert (values.shape, values.dtype) == ((len(row.input_ids), 2), np.float32)
        assert not values[0].any()
        ids = torch.from_numpy(row.input_ids.astype(np.int64))
        with torch.no_grad():
            hidden = model.model(input_ids=ids[None]).last_hidden_state[0]
            expected = learner.heads.linear(hidden[:-1])  # type: ignore[union-attr]
        np.testing.assert_allclose(values[1:], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_loss_equals_a_plain_computation(model: Any) -> None:
    """Each head has the mean over its own targets; the sum is weighted by the coefficient."""
    rows = valued(sampled_rows(model))
    learner = with_random_heads(model, config(value_clip=0.3, lr=1e-9))
    values = learner.values(rows)
    expected = 0.0
    for head in range(2):
        errors = []
        for row, found in zip(rows, values, strict=True):
            if row.value is not None:
                chosen = row.value.mask[:, head]
                v, old, target = (x[chosen, head] for x in (found, row.value.old, row.value.target))
                errors.extend(np.maximum((v - target) ** 2, (np.clip(v, old - 0.3, old + 0.3) - target) ** 2))
        expected += np.mean(errors)
    silent = with_random_heads(copy.deepcopy(model), config(value_coef=0.0, lr=1e-9))
    whole, policy = learner.update(rows), silent.update(rows)
    assert whole["value_loss"] == pytest.approx(expected, rel=1e-4)
    assert whole["loss"] == pytest.approx(policy["loss"] + 0.5 * expected, rel=1e-4)


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean"])
def test_weights_do_not_depend_on_the_micro_batch_budget(model: Any, aggregation: Any) -> None:
    rows = valued(sampled_rows(model))
    results = []
    for budget in (1, 20, 10_000):
        cfg = config(max_tokens_per_microbatch=budget, aggregation=aggregation, value_clip=0.2)
        learner = with_random_heads(copy.deepcopy(model), cfg)
        learner.update(rows)
        assert learner.heads is not None
        results.append([*trunk(learner), *learner.heads.parameters()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_the_critic_learns_its_targets_and_tells_states_apart(model: Any) -> None:
    rows = without_advantages(sampled_rows(model, count=4))
    rows = [
        replace(
            row,
            value=ValueTargets(
                row.loss_mask[:, None],
                np.zeros((len(row.input_ids), 1), np.float32),
                np.full((len(row.input_ids), 1), 3.0 * number, np.float32),
            ),
        )
        for number, row in enumerate(rows)
    ]
    learner = Learner(Policy(model), config(value_heads=1, lr=3e-3, value_detach=False))
    losses = [learner.update(rows)["value_loss"] for _ in range(120)]
    assert losses[-1] < 0.1 * losses[0]
    for number, (row, values) in enumerate(zip(rows, learner.values(rows), strict=True)):
        assert values[row.loss_mask, 0].mean() == pytest.approx(3.0 * number, abs=1.0)


def test_detached_values_leave_the_trunk_to_the_policy(model: Any) -> None:
    rows = valued(sampled_rows(model))
    alone = Learner(Policy(copy.deepcopy(model)), config(value_heads=0))
    alone.update([replace(row, value=None) for row in rows])
    detached = with_random_heads(copy.deepcopy(model), config())
    detached.update(rows)
    attached = with_random_heads(copy.deepcopy(model), config(value_detach=False))
    attached.update(rows)
    assert same(trunk(detached), trunk(alone))
    assert not same(trunk(attached), trunk(alone))
    for learner in (detached, attached):
        assert learner.heads is not None
        assert not same([p.detach() for p in learner.heads.parameters()], fresh_heads(model))


def fresh_heads(model: Any) -> list[torch.Tensor]:
    learner = with_random_heads(copy.deepcopy(model), config())
    assert learner.heads is not None
    return [p.detach() for p in learner.heads.parameters()]


def test_large_errors_of_the_critic_do_not_shrink_the_policy_s_gradient(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = valued(sampled_rows(model))
    for row in rows[:-1]:
        assert row.value is not None
        row.value.target[:] *= 1e6
    seen = []
    for given, heads in ((rows, 2), ([replace(row, value=None) for row in rows], 0)):
        learner = Learner(Policy(copy.deepcopy(model)), config(value_heads=heads, max_grad_norm=1e-3))

        def catch(learner: Learner = learner) -> None:
            seen.append([p.grad.clone() for p in learner.model.parameters() if p.grad is not None])

        monkeypatch.setattr(learner.optimizer, "step", catch)
        learner.update(given)
    assert same(*seen)


def test_warm_up_trains_the_heads_alone(model: Any) -> None:
    rows = valued(sampled_rows(model))
    learner = Learner(Policy(model), config(value_warmup=2, kl_coef=0.1, entropy_coef=0.1, mini_batches=2))
    start, heads = trunk(learner), learner.heads
    assert heads is not None
    for _ in range(2):
        before = heads.linear.weight.detach().clone()
        learner.update(rows)
        assert same(start, trunk(learner))
        assert not torch.equal(before, heads.linear.weight)
    learner.update(rows)
    assert not same(start, trunk(learner))


def test_rows_without_an_advantage_are_used_for_their_targets(model: Any) -> None:
    rows = without_advantages(valued(sampled_rows(model)))
    metrics = Learner(Policy(model), config()).update(rows)
    assert metrics["rows_skipped"] == 1  # the one without targets
    assert metrics["value_loss"] > 0


def test_the_heads_have_their_own_learning_rate(model: Any) -> None:
    learner = Learner(Policy(model), config(lr=1e-3, value_lr=7.0, warmup_steps=1))
    learner.update(valued(sampled_rows(model)))
    rates = {name: [g["lr"] for g in member.param_groups] for name, member in learner.optimizer.members.items()}
    assert rates["value"] == pytest.approx([3.5e-3])
    assert rates["adamw"] == pytest.approx([5e-4, 5e-4])


def test_bfloat16_autocast_leaves_the_heads_in_float32(model: Any) -> None:
    rows = valued(sampled_rows(model))
    exact = with_random_heads(copy.deepcopy(model), config()).values(rows)
    learner = with_random_heads(model, config(precision="bf16"))
    for one, other in zip(exact, learner.values(rows), strict=True):
        assert other.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=0.15)
    assert np.isfinite(learner.update(rows)["value_loss"])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resuming_equals_not_stopping(model: Any, tmp_path: Path, optimizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    cfg = config(optimizer=optimizer, mini_batches=2)
    batches = [valued(sampled_rows(model, seed=seed), seed=seed) for seed in range(2)]
    learner = Learner(Policy(model), cfg)
    learner.update(batches[0])
    assert learner.heads is not None
    files = {VALUE_FILE: learner.heads.state_dict()}
    save_checkpoint(tmp_path, "one", model, None, {"learner": learner.state_dict()}, tensors=files)
    saved = {name: part.clone() for name, part in learner.heads.state_dict().items()}
    expected = learner.update(batches[1])

    found = load_latest(tmp_path)
    assert found is not None
    written = load_file(found.model_dir / VALUE_FILE)
    assert written.keys() == saved.keys()
    assert all(torch.equal(written[name], saved[name]) for name in saved)
    resumed = Learner(Policy(AutoModelForCausalLM.from_pretrained(found.model_dir)), cfg)
    resumed.load_state_dict(found.state["learner"])
    actual = resumed.update(batches[1])
    assert {k: v for k, v in actual.items() if k not in CLOCK} == {k: v for k, v in expected.items() if k not in CLOCK}
    assert same(trunk(learner), trunk(resumed))
    assert resumed.heads is not None
    assert same([*learner.heads.parameters()], [*resumed.heads.parameters()])


def test_a_state_of_other_heads_is_refused(model: Any) -> None:
    for heads in (1, 0):
        state = Learner(Policy(copy.deepcopy(model)), config(value_heads=heads)).state_dict()
        with pytest.raises(CheckpointError, match="does not fit"):
            Learner(Policy(copy.deepcopy(model)), config()).load_state_dict(state)


def test_targets_are_packed_with_the_state_before_the_token() -> None:
    # row 0 has targets on its tokens 1 (head 0) and 2 (both), row 1 none
    mask = np.array([[0, 0], [1, 0], [1, 1]], dtype=bool)
    target = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = [make_row([5, 6, 7], [0, 1, 1]), make_row([1, 2], [0, 1])]
    rows[0] = replace(rows[0], value=ValueTargets(mask, -target, target))
    (batch,) = pack(rows, 100)
    assert batch.value_predict_K.tolist() == [0, 1]
    assert batch.value_mask_KH.tolist() == [[True, False], [True, True]]
    assert batch.value_target_KH.tolist() == [[2, 3], [4, 5]]
    assert batch.value_old_KH.tolist() == [[-2, -3], [-4, -5]]
    assert head_weights(rows, 2).tolist() == [0.5, 1.0]
    assert head_weights(rows[1:], 2).tolist() == [0.0, 0.0]
    (empty,) = pack(rows[1:], 100)
    assert empty.value_predict_K.shape == (0,)


def test_wrong_targets_are_refused() -> None:
    row = make_row([5, 6, 7], [0, 1, 1])

    def given(mask: list[bool], target: float = 1.0, heads: int = 1) -> list[Row]:
        column = np.array(mask)[:, None].repeat(heads, 1)
        filled = np.full(column.shape, target, np.float32)
        return [replace(row, value=ValueTargets(column, np.zeros_like(filled), filled))]

    check_rows(given([False, True, True]), heads=1)
    check_rows(given([False, False, False], np.nan), heads=1)
    for rows, heads, message in (
        (given([False, True, True]), 0, "value_heads"),
        (given([False, True, True], heads=2), 1, "value_heads"),
        (given([False, True]), 1, "value_heads"),
        (given([True, True, True]), 1, "first token"),
        (given([False, True, True], np.inf), 1, "not finite"),
    ):
        with pytest.raises(TrainingError, match=message):
            check_rows(rows, heads=heads)
