import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from himac.errors import CheckpointError, ConfigError, TrainingError
from himac.models.forward import packed_forward, recomputed
from himac.models.policy import Policy
from himac.training import forward
from himac.training.checkpoint import load_latest, save_checkpoint
from himac.training.learner import Learner, LearnerSettings
from support.training_rows import learner_config as config
from support.training_rows import logprobs, make_row, sampled_rows, tiny_model

CLOCK = ("update_s", "tokens_per_s")


def weights(model: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def gradient_of(model: Any, rows: Any, cfg: LearnerSettings, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The gradient that the first optimiser step sees, in the order of the model's parameters."""
    learner = Learner(Policy(copy.deepcopy(model)), cfg, ref_model=tiny_model(5) if cfg.kl_coef else None)
    caught: list[list[torch.Tensor]] = []

    def catch() -> None:
        caught.append([p.grad.clone() for p in learner.model.parameters() if p.grad is not None])

    monkeypatch.setattr(learner.optimizer, "step", catch)
    learner.update(rows)
    return caught[0]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_probability_moves_toward_positive_and_away_from_negative_advantages(model: Any, optimizer: Any) -> None:
    good, bad = make_row([1, 2, 3, 4], [0, 0, 0, 1], 1.0), make_row([1, 9, 8, 7], [0, 0, 0, 1], -1.0)
    rows = []
    for row in (good, bad):
        old = [0.0, 0.0, 0.0, float(logprobs(model, row)[-1])]
        rows.append(make_row(row.input_ids.tolist(), row.loss_mask.tolist(), float(row.advantages[-1]), old))
    before = [float(logprobs(model, row)[-1]) for row in rows]
    metrics = Learner(Policy(model), config(optimizer=optimizer, lr=1e-3)).update(rows)
    after = [float(logprobs(model, row)[-1]) for row in rows]
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert metrics["trained_tokens"] == 2
    assert metrics["logprob_gap_max"] < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"loss_chunk": 1}, id="a token at a time"),
        pytest.param({"loss_chunk": 3}, id="three tokens at a time"),
        pytest.param({"gradient_checkpointing": 1}, id="every layer again"),
        pytest.param({"gradient_checkpointing": 2}, id="every second layer again"),
        pytest.param({"offload_reference": True}, id="reference elsewhere"),
    ],
)
def test_saving_memory_changes_no_gradient(
    model: Any, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sampled_rows(model)
    settings: dict[str, Any] = {"kl_coef": 0.3, "entropy_coef": 0.2, "max_grad_norm": 1e9}
    expected = gradient_of(model, rows, config(**settings), monkeypatch)
    found = gradient_of(model, rows, config(**settings | changes), monkeypatch)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-6 * max(1.0, float(other.abs().max()))


def test_logits_of_a_batch_never_exist_at_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda module, given, out: seen.append(out.shape[0]))
    rows = sampled_rows(model)
    learner = Learner(Policy(model), config(loss_chunk=4))
    seen.clear()
    learner.update(rows)
    tokens = sum(int(row.loss_mask.sum()) for row in rows)
    assert max(seen) == 4
    assert sum(seen) == 2 * tokens  # once more in the backward pass


def test_layers_that_are_computed_again_keep_their_input_alone(model: Any) -> None:
    def kept(every: int) -> int:
        """Elements that the forward pass of an update leaves for the backward pass."""
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), recomputed(model, every):
            packed_forward(model, torch.arange(30) % 7, [10, 20])
        return total

    assert kept(1) < kept(2) < kept(0)
    assert kept(1) < 0.2 * kept(0)


def test_loss_and_gradient_equal_a_plain_computation(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sampled_rows(model)
    cfg = config(kl_coef=0.3, entropy_coef=0.2, clip_low=0.05, clip_high=0.1, temperature=0.7, max_grad_norm=1e9)
    gradient = gradient_of(model, rows, cfg, monkeypatch)

    twin, reference = copy.deepcopy(model), tiny_model(5)
    total, tokens = torch.zeros(()), 0
    for row in rows:
        ids = torch.from_numpy(row.input_ids.astype(np.int64))
        mask = torch.from_numpy(row.loss_mask[1:])
        full = torch.log_softmax(twin(input_ids=ids[None]).logits[0, :-1] / 0.7, -1)
        new = full.gather(-1, ids[1:, None])[:, 0][mask]
        ref = logprobs(reference, row, 0.7).float()[mask]
        ratio = (new - torch.from_numpy(row.old_logprobs[1:])[mask]).exp()
        advantage = torch.from_numpy(row.advantages[1:])[mask]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.95, 1.1) * advantage)
        kl = (ref - new).exp() - 1 - (ref - new)
        entropy = -(full.exp() * full).sum(-1)[mask]
        total = total + (-surrogate + 0.3 * kl - 0.2 * entropy).sum()
        tokens += int(mask.sum())
    (total / tokens).backward()
    for p, got in zip(twin.parameters(), gradient, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(got, p.grad, rtol=1e-3, atol=1e-6)

    metrics = Learner(Policy(copy.deepcopy(model)), cfg, ref_model=tiny_model(5)).update(rows)
    assert metrics["loss"] == pytest.approx(float(total.detach()) / tokens, rel=1e-4)


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_gradient_does_not_depend_on_the_micro_batch_budget(
    model: Any, aggregation: Any, ratio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sampled_rows(model)
    shared: dict[str, Any] = {"aggregation": aggregation, "ratio": ratio, "kl_coef": 0.1, "entropy_coef": 0.01}
    whole = gradient_of(model, rows, config(**shared), monkeypatch)
    for budget in (1, 20):
        cut = gradient_of(model, rows, config(**shared, max_tokens_per_microbatch=budget), monkeypatch)
        for a, b in zip(whole, cut, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_gradient_does_not_depend_on_the_logits_being_cut(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sampled_rows(model)
    whole = gradient_of(model, rows, config(entropy_coef=0.1), monkeypatch)
    monkeypatch.setattr(forward, "_LOGITS_AT_ONCE", 32 * 3)  # three tokens at a time
    cut = gradient_of(model, rows, config(entropy_coef=0.1), monkeypatch)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_forced_tokens_carry_no_gradient(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The last token of the second row is not in the mask: replacing it, and the values beside it, changes nothing.
    first = make_row([1, 2, 3], [0, 0, 1], 1.0, [0, 0, -3.0])
    plain = make_row([4, 5, 6, 7], [0, 1, 0, 0], -1.0, [0, -3.0, 0, 0])
    other = make_row([4, 5, 6, 9], [0, 1, 0, 0], -1.0, [0, -3.0, 0, 0])
    other.advantages[3], other.old_logprobs[3] = 50.0, -20.0
    for a, b in zip(
        gradient_of(model, [first, plain], config(), monkeypatch),
        gradient_of(model, [first, other], config(), monkeypatch),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_rows_without_advantage_count_in_the_denominator_but_skip_the_forward(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, idle = make_row([1, 2, 3], [0, 0, 1], 1.0, [0, 0, -3.0]), make_row([4, 5, 6], [0, 0, 1], 0.0, [0, 0, -3.0])
    alone = gradient_of(model, [row], config(max_grad_norm=1e9), monkeypatch)
    beside = gradient_of(model, [row, idle], config(max_grad_norm=1e9), monkeypatch)
    for a, b in zip(alone, beside, strict=True):
        torch.testing.assert_close(b, a / 2)
    metrics = Learner(Policy(model), config()).update([row, idle])
    assert metrics["rows_skipped"] == 1
    assert metrics["forward_tokens"] == 3


@pytest.mark.parametrize("rows", [[], [make_row([1, 2], [0, 1], 0.0)], [make_row([1, 2], [0, 0], 1.0)]])
def test_nothing_to_learn_changes_nothing(model: Any, rows: Any) -> None:
    learner, before = Learner(Policy(model), config(weight_decay=0.5)), weights(model)
    metrics = learner.update(rows)
    assert metrics["optimizer_steps"] == 0
    assert same(before, weights(model))


@pytest.mark.parametrize("place", ["advantages", "old_logprobs"])
def test_a_row_that_is_not_finite_raises_and_leaves_the_weights(model: Any, place: str) -> None:
    rows = sampled_rows(model)
    getattr(rows[3], place)[rows[3].loss_mask] = np.nan
    learner, before = Learner(Policy(model), config(mini_batches=3)), weights(model)
    with pytest.raises(TrainingError, match="not finite"):
        learner.update(rows)
    assert same(before, weights(model))
    assert learner.steps == 0


def test_a_loss_or_gradient_that_is_not_finite_raises_and_leaves_the_weights(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, learner, before = sampled_rows(model), Learner(Policy(model), config()), weights(model)
    # exp(1000) overflows: the clip does not bound the ratio of a negative advantage
    huge = make_row([1, 2], [0, 1], -1.0, [0.0, -1000.0])
    with pytest.raises(TrainingError, match="loss"):
        learner.update([huge, *rows])
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    with pytest.raises(TrainingError, match="gradient"):
        learner.update(rows)
    assert same(before, weights(model))
    assert all(p.grad is None for p in model.parameters())
    assert learner.steps == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_after_a_step_end_training(
    model: Any, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(Policy(model), config())
    last = learner.optimizer.parameters[-1]
    monkeypatch.setattr(learner.optimizer, "step", lambda: last.data.view(-1)[0].fill_(value))
    with pytest.raises(TrainingError, match="training diverged: the weights are not finite after optimiser step 0"):
        learner.update(sampled_rows(model))
    assert learner.updates == 0


def test_gap_between_sampler_and_trainer_is_measured_before_the_first_step(model: Any) -> None:
    rows = []
    for ids, gap in (([1, 2, 3], 0.5), ([4, 5, 6], -0.1)):
        row = make_row(ids, [0, 1, 1])
        old = [0.0, *(logprobs(model, row) + gap).tolist()]
        rows.append(make_row(ids, [0, 1, 1], 1.0, old))
    metrics = Learner(Policy(model), config(lr=0.1, epochs=3)).update(rows)
    assert metrics["logprob_gap_max"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["logprob_gap_mean"] == pytest.approx(0.3, abs=1e-4)
    assert metrics["optimizer_steps"] == 3


def test_reference_stays_and_holds_the_model_back(model: Any) -> None:
    learner = Learner(Policy(model), config(kl_coef=1.0, lr=1e-2, epochs=4))
    start, rows = weights(learner.reference), sampled_rows(model)
    assert same(start, weights(model))
    first = learner.update(rows)
    assert same(start, weights(learner.reference))
    assert not same(start, weights(model))
    assert first["kl"] > 0
    free = tiny_model()
    Learner(Policy(free), config(lr=1e-2, epochs=4)).update(rows)

    def distance(m: Any) -> float:
        return sum(float((a - b).square().sum()) for a, b in zip(start, weights(m), strict=True))

    assert distance(free) > distance(model)
    assert Learner(Policy(tiny_model()), config()).reference is None


def test_mini_batches_take_every_row_once_per_epoch(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Learner(Policy(model), config(mini_batches=3, epochs=2))
    parts = [learner._split(10, epoch, 3) for epoch in range(2)]
    for part in parts:
        assert sorted(i for batch in part for i in batch) == list(range(10))
        assert [len(batch) for batch in part] == [4, 3, 3]
    assert parts[0] != parts[1]
    assert learner._split(2, 0, 3) in ([[0], [1]], [[1], [0]])
    assert learner.update(sampled_rows(model))["optimizer_steps"] == 6


def test_the_same_rows_give_the_same_run(model: Any) -> None:
    rows, results = sampled_rows(model), []
    for _ in range(2):
        twin = copy.deepcopy(model)
        metrics = Learner(Policy(twin), config(mini_batches=2, kl_coef=0.1)).update(rows)
        results.append((weights(twin), {k: v for k, v in metrics.items() if k not in CLOCK}))
    assert same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert all(math.isfinite(v) for v in results[0][1].values())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resuming_equals_not_stopping(model: Any, tmp_path: Path, optimizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    cfg = config(optimizer=optimizer, mini_batches=2, kl_coef=0.1, warmup_steps=2, schedule="cosine", total_steps=9)
    reference = copy.deepcopy(model)
    batches = [sampled_rows(model, seed=seed) for seed in range(3)]
    learner = Learner(Policy(model), cfg)
    learner.update(batches[0])
    save_checkpoint(tmp_path, "step-1", model, None, {"learner": learner.state_dict()})
    straight = [learner.update(rows) for rows in batches[1:]]

    found = load_latest(tmp_path)
    assert found is not None
    again = AutoModelForCausalLM.from_pretrained(found.model_dir)
    resumed = Learner(Policy(again), cfg, ref_model=reference)
    resumed.load_state_dict(found.state["learner"])
    assert (resumed.steps, resumed.updates, resumed.policy.version) == (2, 1, 2)
    for expected, rows in zip(straight, batches[1:], strict=True):
        actual = resumed.update(rows)
        assert {k: v for k, v in actual.items() if k not in CLOCK} == {
            k: v for k, v in expected.items() if k not in CLOCK
        }
    assert same(weights(model), weights(again))


def test_supervised_learns_the_masked_tokens_weighted_by_the_advantages(model: Any) -> None:
    rows = [make_row([1, 2, 3, 4], [0, 1, 1, 0], 1.0), make_row([5, 6, 7], [0, 0, 1], 0.25)]
    mean = -(logprobs(model, rows[0])[:2].sum() + 0.25 * logprobs(model, rows[1])[1]) / 2.25
    unmasked = float(logprobs(model, rows[0])[2])
    learner = Learner(Policy(model), config(lr=3e-3))
    first = learner.supervised(rows)
    assert first["loss"] == pytest.approx(float(mean), rel=1e-5)
    assert first["trained_tokens"] == 3
    for _ in range(40):
        last = learner.supervised(rows)
    assert last["loss"] < 0.3 * first["loss"]
    assert last["accuracy"] == 1.0
    assert float(logprobs(model, rows[0])[2]) < unmasked + 1.0


def test_supervised_gradient_does_not_depend_on_the_budget(model: Any) -> None:
    rows = [dataclasses.replace(row, advantages=np.abs(row.advantages)) for row in sampled_rows(model)]
    results = []
    for budget in (1, 10_000):
        learner = Learner(Policy(copy.deepcopy(model)), config(max_tokens_per_microbatch=budget))
        results.append(learner.supervised(rows))
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-5)
    assert results[0]["grad_norm"] == pytest.approx(results[1]["grad_norm"], rel=1e-4)


def test_bfloat16_autocast_is_close(model: Any) -> None:
    rows = sampled_rows(model)
    exact = Learner(Policy(copy.deepcopy(model)), config()).update(rows)
    rounded = Learner(Policy(copy.deepcopy(model)), config(precision="bf16")).update(rows)
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.1, abs=0.02)
    assert rounded["loss"] != exact["loss"]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_reference_logprobs_stand_beside_the_trained_tokens(model: Any) -> None:
    reference, rows = tiny_model(5), sampled_rows(model, temperature=0.7)
    learner = Learner(
        Policy(model), config(keep_reference=True, temperature=0.7, max_tokens_per_microbatch=15), reference
    )
    for row, found in zip(rows, learner.reference_logprobs(rows), strict=True):
        expected = np.concatenate([[0.0], logprobs(reference, row, 0.7).numpy()])
        np.testing.assert_allclose(found, np.where(row.loss_mask, expected, 0.0), rtol=1e-4, atol=1e-5)


def test_small_steps_of_bfloat16_weights_add_up(model: Any) -> None:
    """Weights above 1/64 are 1.2e-4 apart in bfloat16: a step of 1e-6 is lost on them, 200 of them are not."""
    half, rows = copy.deepcopy(model).to(torch.bfloat16), sampled_rows(model, count=1)
    before = torch.cat([p.flatten() for p in weights(half)])
    large = before.abs() > 1 / 64
    metrics = Learner(Policy(half), config(lr=1e-6, epochs=200, betas=(0.9, 0.9))).update(rows)
    after = torch.cat([p.flatten() for p in weights(half)])
    assert metrics["optimizer_steps"] == 200
    assert (after != before)[large].float().mean() > 0.1


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_bfloat16_resumes_with_its_masters(model: Any, optimizer: Any) -> None:
    half, rows = copy.deepcopy(model).to(torch.bfloat16), sampled_rows(model)
    cfg = config(lr=1e-5, optimizer=optimizer, epochs=3)
    learner = Learner(Policy(half), cfg)
    learner.update(rows)
    resumed = Learner(Policy(copy.deepcopy(half)), cfg)
    resumed.load_state_dict(copy.deepcopy(learner.state_dict()))
    for one in (learner, resumed):
        one.update(rows)
    pairs = list(zip(learner.optimizer.masters, resumed.optimizer.masters, strict=True))
    assert len(pairs) == len(weights(half))
    for (p, master), (q, other) in pairs:
        assert p.dtype == torch.bfloat16
        assert torch.equal(master, other)
        assert torch.equal(p, q)
    with pytest.raises(CheckpointError, match="dtype"):
        Learner(Policy(model), cfg).load_state_dict(learner.state_dict())


def test_float16_is_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match="bfloat16"):
        Learner(Policy(model.to(torch.float16)), config())


def test_wrong_settings_and_states_are_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match="total_steps"):
        Learner(Policy(model), config(schedule="linear"))
    with pytest.raises(ConfigError, match="horizon"):
        Learner(Policy(model), config(aggregation="seq-mean-token-sum-norm"))
    adam = Learner(Policy(model), config()).state_dict()
    muon = Learner(Policy(model), config(optimizer="muon"))
    with pytest.raises(CheckpointError, match="same optimiser"):
        muon.load_state_dict(adam)
    with pytest.raises(CheckpointError, match="does not fit"):
        muon.load_state_dict({})
