"""What the local engine does not do: encode twice, copy needlessly, touch a shared model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from himac.engines.base import GenerateRequest, SamplingParams
from himac.engines.local import engine as engine_module
from himac.engines.local.cache import SlotCache
from himac.engines.local.engine import LocalEngine
from himac.errors import ModelError
from himac.models.weights import copy_weights


def ask(number: int, prompt: list[int], new: int = 4) -> GenerateRequest:
    return GenerateRequest(number, number, prompt, SamplingParams(new, temperature=0))


@pytest.fixture
def encoded(tiny: tuple[Any, Any]) -> Iterator[list[int]]:
    """Tokens of each forward pass of the tiny model."""
    counts: list[int] = []
    handle = (
        tiny[0]
        .get_decoder()
        .register_forward_pre_hook(
            lambda _module, _args, kwargs: counts.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
    )
    yield counts
    handle.remove()


def test_only_new_tokens_are_encoded(tiny: tuple[Any, Any], encoded: list[int]) -> None:
    engine = LocalEngine(*tiny)
    encoded.clear()
    prompt = list(range(50))
    done = engine.generate([ask(number, prompt) for number in range(8)])
    # The prompt once, then its last token for the seven others, then 3 more tokens each in step.
    assert encoded == [50, 7, 8, 8, 8]
    encoded.clear()
    engine.generate([ask(0, [*prompt, *done[0].token_ids, *range(100, 110)])])
    assert encoded[0] == 11  # the last generated token and ten new ones
    encoded.clear()
    engine.release(0)
    engine.generate([ask(99, [*prompt, 7, 8, 9])])  # a released prefix is still good
    assert encoded[0] == 3


def test_without_sharing_each_prompt_is_encoded(tiny: tuple[Any, Any], encoded: list[int]) -> None:
    engine = LocalEngine(*tiny, cache_prefixes=False)
    encoded.clear()
    engine.generate([ask(number, list(range(50)), new=1) for number in range(3)])
    assert encoded == [150]


def test_large_batches_are_cut_into_passes(
    tiny: tuple[Any, Any], encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("himac.engines.local.engine._PASS_TOKENS", 100)
    engine = LocalEngine(*tiny, cache_prefixes=False)
    encoded.clear()
    done = engine.generate([ask(number, [number + 1] * 40, new=1) for number in range(5)])
    assert encoded == [80, 80, 40]
    assert [completion.id for completion in done] == [0, 1, 2, 3, 4]


def test_context_is_limited_by_the_model(tiny: tuple[Any, Any]) -> None:
    assert LocalEngine(*tiny, max_context=100_000).max_context == 512
    assert LocalEngine(*tiny, max_context=100).max_context == 100


def test_a_training_model_is_left_in_training_mode(tiny: tuple[Any, Any]) -> None:
    model = tiny[0]
    engine = LocalEngine(*tiny)
    model.train()
    try:
        engine.generate([ask(0, [1, 2, 3])])
        engine.score([[1, 2, 3]])
        assert model.training
        loss = model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum()
        loss.backward()  # nothing the engine left behind is an inference tensor
    finally:
        model.zero_grad()
        model.eval()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_requests_that_do_not_fit_wait_and_say_the_same(
    temperature: float, tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of 256 tokens fit, and two of 512: those that grow send the youngest away, who begin again later."""
    prompts = [list(range(n, n + 150 + 30 * n)) for n in range(7)]
    requests = [
        GenerateRequest(n, n, prompt, SamplingParams(120, temperature=temperature, seed=n))
        for n, prompt in enumerate(prompts)
    ]
    sent_away: list[int] = []
    finish = SlotCache.finish

    def watched(cache: SlotCache, slot: int) -> None:
        assert cache.storage[0].shape[1] * cache.storage[0].shape[3] <= 1024
        sent_away.append(slot)
        finish(cache, slot)

    expected = LocalEngine(*tiny, max_slots=7).generate(requests)
    monkeypatch.setattr(SlotCache, "finish", watched)
    found = LocalEngine(*tiny, max_slots=7, cache_tokens=1024).generate(requests)
    assert len(sent_away) > len(requests)
    for one, other in zip(found, expected, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_a_cache_smaller_than_a_context_is_refused(tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"engine\.cache_tokens=100 holds no whole context; set it to the 200"):
        LocalEngine(*tiny, max_context=200, cache_tokens=100)
    # 2 layers of keys and values of 2 heads of 8 numbers in float32: 256 bytes a token.
    monkeypatch.setattr(engine_module, "free_bytes", lambda device: 256 * 300)
    assert LocalEngine(*tiny, max_context=200).generate([ask(0, [1, 2, 3])])
    with pytest.raises(ModelError, match=r"300 tokens, less than one context; set agent\.max_context=300 or less"):
        LocalEngine(*tiny, max_context=400).generate([ask(0, [1, 2, 3])])


def test_misuse_is_refused(tiny: tuple[Any, Any]) -> None:
    engine = LocalEngine(*tiny)
    engine.submit(ask(0, [1, 2]))
    with pytest.raises(ValueError, match="already has a request under way"):
        engine.submit(ask(0, [1, 2]))
    with pytest.raises(ValueError, match="empty prompt"):
        engine.submit(ask(1, []))
    with pytest.raises(ModelError, match="token id outside"):
        engine.submit(ask(2, [10**6]))
    with pytest.raises(ValueError, match="max_slots"):
        LocalEngine(*tiny, max_slots=0)


def test_weights_by_name(tiny: tuple[Any, Any]) -> None:
    model = tiny[0]
    own = dict(model.named_parameters())
    kept = {name: value.detach().clone() for name, value in own.items()}
    assert copy_weights(model, own) == 0  # the model's own memory
    embedding = kept["model.embed_tokens.weight"]
    try:
        assert copy_weights(model, [("lm_head.weight", (embedding + 1).numpy())]) == 1
        assert torch.equal(model.get_input_embeddings().weight, embedding + 1)  # tied
    finally:
        assert copy_weights(model, kept) == len(kept)
    with pytest.raises(ModelError, match="no tensor 'nonsense'"):
        copy_weights(model, {"nonsense": embedding})
    with pytest.raises(ModelError, match=r"has shape \(2, 2\)"):
        copy_weights(model, {"lm_head.weight": np.zeros((2, 2), dtype=np.float32)})


def test_after_forgetting_it_gives_what_a_new_engine_gives(tiny: tuple[Any, Any], encoded: list[int]) -> None:
    """To the last bit, and in the same passes, whatever it did before."""
    used, prompts = LocalEngine(*tiny, max_slots=4), [list(range(n, 60 + 3 * n)) for n in (0, 0, 40, 5, 5)]
    used.generate([ask(n, list(range(50 + n))) for n in range(9)])
    for number in (3, 1, 7):
        used.release(number)
    used.forget()
    found = []
    for engine in (used, LocalEngine(*tiny, max_slots=4)):
        encoded.clear()
        found.append((engine.generate([ask(n, prompt) for n, prompt in enumerate(prompts)]), list(encoded)))
    assert found[0] == found[1]
