"""Packed rows give the hidden states and gradients of separate forwards."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from conformance.reference import ARCHITECTURES, build
from himac.models.attention import NAME, PackedPlan, enable_attention
from himac.models.forward import logits_at, packed_forward, support

LENGTHS = [5, 17, 17, 1, 30, 2]
VOCABULARY = 200


def rows() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in LENGTHS]


def separate_loss(model: Any) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood by one plain forward a row, and all hidden states."""
    losses, hidden = [], []
    for row in rows():
        out = model(input_ids=row[None], output_hidden_states=True, use_cache=False)
        hidden.append(out.hidden_states[-1][0])
        if len(row) > 1:
            losses.append(torch.nn.functional.cross_entropy(out.logits[0, :-1], row[1:], reduction="sum"))
    return torch.stack(losses).sum(), torch.cat(hidden)


def packed_loss(model: Any) -> tuple[Tensor, Tensor]:
    ids = torch.cat(rows())
    hidden = packed_forward(model, ids, LENGTHS)
    starts = [0, *itertools.accumulate(LENGTHS)][:-1]
    source = torch.tensor([s + i for s, n in zip(starts, LENGTHS, strict=True) for i in range(n - 1)])
    loss = torch.nn.functional.cross_entropy(logits_at(model, hidden, source), ids[source + 1], reduction="sum")
    return loss, hidden


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_and_gradients(architecture: str, checkpointing: bool) -> None:
    plain, model = build(architecture, VOCABULARY), build(architecture, VOCABULARY)
    for one in (plain, model):  # training mode, but without the dropout that would make the two incomparable
        one.train()
        for module in one.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0
    if checkpointing:
        model.activation_checkpointing_enable()
    expected_loss, expected_hidden = separate_loss(plain)
    loss, hidden = packed_loss(model)
    expected_loss.backward()
    loss.backward()
    assert hidden.shape == (sum(LENGTHS), 32)
    assert torch.allclose(hidden, expected_hidden, atol=1e-5)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    gradients = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        want = gradients[name].grad
        if want is None:
            assert parameter.grad is None
            continue
        assert torch.allclose(parameter.grad, want, atol=1e-5 * float(want.abs().max().clamp_min(1))), name
    assert model.training


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_support_is_measured(architecture: str) -> None:
    model = build(architecture, VOCABULARY)
    found = support(model)
    if architecture in ("gptj", "gemma2"):
        assert not found.packed
        assert model.config._attn_implementation != NAME
    else:
        expected = {"qwen2": 2, "qwen2-mixed": 2, "mistral-sliding": 2, "llama": 1, "gpt-neox": 4, "gpt2": 4}
        assert (found.slots, found.layers, found.kv_heads, found.head_dim) == (True, 2, expected[architecture], 8)


def test_rows_do_not_see_one_another() -> None:
    model = build("qwen2", VOCABULARY)
    first, second = rows()[1], rows()[4]
    with torch.no_grad():
        together = packed_forward(model, torch.cat([first, second]), [17, 30])
        other = packed_forward(model, torch.cat([first.flip(0), second]), [17, 30])
    assert torch.allclose(together[17:], other[17:], atol=1e-6)
    assert not torch.allclose(together[:17], other[:17], atol=1e-3)


def test_only_the_asked_positions_are_projected() -> None:
    model = build("qwen2", VOCABULARY)
    hidden = torch.randn(9, 32)
    logits = logits_at(model, hidden, torch.tensor([7, 2]))
    assert torch.allclose(logits, torch.stack([hidden[7], hidden[2]]) @ model.lm_head.weight.T, atol=1e-5)


@pytest.mark.parametrize("lengths", [[3, 3], [7, 0], [8, -1]])
def test_lengths_must_fit(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="row lengths must be positive and sum to 7"):
        packed_forward(build("qwen2", VOCABULARY), torch.arange(7), lengths)


def test_equal_neighbours_share_a_call() -> None:
    assert PackedPlan([4, 4, 4, 2, 4]).runs == [(0, 3, 4), (12, 1, 2), (14, 1, 4)]


def test_padded_batches_still_work_under_our_attention() -> None:
    """Without a plan the model behaves like any other, for example in `generate` or under a reference trainer."""
    plain, model = build("mistral-sliding", VOCABULARY), build("mistral-sliding", VOCABULARY)
    assert support(model).packed
    ids = torch.stack([rows()[1], rows()[2]])
    mask = torch.ones_like(ids)
    mask[0, :6] = 0
    with torch.no_grad():
        got = model(input_ids=ids, attention_mask=mask).logits
        want = plain(input_ids=ids, attention_mask=mask).logits
    assert torch.allclose(got[mask.bool()], want[mask.bool()], atol=1e-4)
    same = [one.generate(ids[1:], max_new_tokens=5, do_sample=False) for one in (plain, model)]
    assert torch.equal(*same)


def test_soft_caps_keep_the_attention_that_has_them() -> None:
    """A loaded model is given our attention before it is probed; SDPA, which that falls back to, has no soft caps."""
    model, ids = build("gemma2", VOCABULARY), rows()[4]
    with torch.no_grad():
        expected = model(input_ids=ids[None]).logits[0]
        assert not enable_attention(model)
        assert torch.equal(model(input_ids=ids[None]).logits[0], expected)
        hidden = packed_forward(model, torch.cat([ids, ids[:7]]), [30, 7])
        assert torch.allclose(logits_at(model, hidden, torch.arange(30)), expected, atol=1e-4)
    assert float(expected.abs().max()) <= 5.0  # of final_logit_softcapping
