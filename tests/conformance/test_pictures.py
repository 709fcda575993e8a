"""The local engine with pictures: tokens and log-probabilities of the model's own forward, whatever is cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from himac.engines.base import Completion, GenerateRequest, SamplingParams
from himac.engines.local.engine import LocalEngine
from himac.errors import ModelError
from himac.models import vision
from himac.scene import Placed, Prompt
from support.tiny_vision import ARCHITECTURES, load_spread, picture, plain_logits, plain_logprobs, prompt, write_model

Loaded = tuple[Any, Any]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load_spread(write_model(tmp_path_factory.mktemp("models"), request.param))


def ask(number: int, made: Sequence[int], length: int = 6, session: Any = None, **options: Any) -> GenerateRequest:
    params = SamplingParams(length, **{"temperature": 0, **options})
    pictures = made.pictures if isinstance(made, Prompt) else ()
    return GenerateRequest(number, session or ("s", number), list(made), params, pictures)


def check(model: Any, made: Sequence[int], done: Completion) -> None:
    """The reply is greedy and its log-probabilities are those of the plain forward."""
    pictures = made.pictures if isinstance(made, Prompt) else ()
    whole = [*made, *done.token_ids]
    with torch.no_grad():
        logits = plain_logits(model, whole, pictures)[len(made) - 1 : -1]
        chosen = logits.gather(1, torch.tensor(list(done.token_ids))[:, None])[:, 0]
        assert torch.all(logits.max(dim=-1).values - chosen < 1e-4)
        expected = plain_logprobs(model, whole, pictures)[len(made) - 1 :]
    assert torch.allclose(torch.tensor(done.logprobs), expected, atol=1e-4)


def longer(made: Prompt, done: Completion, more: Prompt) -> Prompt:
    """The context after a reply and another message."""
    ids = [*made, *done.token_ids]
    return Prompt([*ids, *more], [*made.pictures, *(one.moved(len(ids)) for one in more.pictures)])


PARTS = (
    (7,),
    (3, picture(1), 5),
    (picture(2, 16, 16), 2),
    (40, picture(3, 40, 24), 30, picture(4), 1),
    (2, picture(1), 2, picture(1), 3),
)


@pytest.mark.parametrize("max_slots", [1, 3, 64])
def test_ragged_batch_is_a_plain_forward(loaded: Loaded, max_slots: int) -> None:
    model, tokenizer = loaded
    prompts = [prompt(tokenizer, parts, seed) for seed, parts in enumerate(PARTS)]
    engine = LocalEngine(model, tokenizer, max_slots=max_slots, max_context=400)
    assert engine._cache is not None  # the slot cache serves pictures too
    for made, done in zip(prompts, engine.generate([ask(n, made) for n, made in enumerate(prompts)]), strict=True):
        assert len(done.token_ids) == 6
        check(model, made, done)


@pytest.mark.parametrize("max_slots", [2, 8])
def test_sessions_grow_by_pictures(loaded: Loaded, max_slots: int) -> None:
    model, tokenizer = loaded
    engine = LocalEngine(model, tokenizer, max_slots=max_slots, max_context=600)
    contexts = [prompt(tokenizer, parts, seed) for seed, parts in enumerate(PARTS)]
    for turn in range(3):
        replies = engine.generate([ask(number, made) for number, made in enumerate(contexts)])
        for number, done in enumerate(replies):
            check(model, contexts[number], done)
            more = prompt(tokenizer, (2, picture(10 * turn + number), 3), seed=turn)
            contexts[number] = longer(contexts[number], done, more)


def test_a_prefix_is_shared_only_where_its_pictures_are_equal(loaded: Loaded) -> None:
    model, tokenizer = loaded
    engine = LocalEngine(model, tokenizer, max_context=400)
    stem = (20, picture(1), 4)
    same = [prompt(tokenizer, (*stem, picture(n), 6)) for n in (2, 2, 3)]
    other = prompt(tokenizer, (20, picture(5), 4, picture(2), 6))
    assert list(other) == list(same[0])  # the token ids alone do not tell them apart
    reused = dict[Any, int]()
    place = engine._cache.place  # type: ignore[union-attr]

    def placing(session: Any, *rest: Any) -> Any:
        found = place(session, *rest)
        reused[session] = found.reused
        return found

    with patch.object(engine._cache, "place", placing):
        (first,) = engine.generate([ask(0, same[0])])
        rest = engine.generate([ask(1, same[1]), ask(2, same[2]), ask(3, other)])
    for made, done in zip([*same, other], [first, *rest], strict=True):
        check(model, made, done)
    second = same[0].pictures[1].start
    assert reused == {("s", 0): 0, ("s", 1): len(same[0]) - 1, ("s", 2): second, ("s", 3): same[0].pictures[0].start}


def test_a_prefix_may_end_inside_a_picture(loaded: Loaded) -> None:
    model, tokenizer = loaded
    engine = LocalEngine(model, tokenizer, max_context=400)
    made = prompt(tokenizer, (20, picture(1)))
    cut = Prompt(list(made)[:-1], made.pictures)  # the last token, always encoded, is one of the picture's
    for number, one in enumerate((made, cut, cut)):
        (done,) = engine.generate([ask(number, one)])
        check(model, one, done)


def test_each_distinct_picture_is_encoded_once(loaded: Loaded) -> None:
    model, tokenizer = loaded
    engine = LocalEngine(model, tokenizer, max_context=400, cache_prefixes=False)
    engine.load_weights({}, 2)
    prompts = [prompt(tokenizer, (5, picture(n % 3), 4, picture(0), 2), seed=n) for n in range(7)]
    seen = list[int]()
    real = vision._encode
    with patch.object(vision, "_encode", lambda model, new: (seen.append(len(new)), real(model, new))[1]):
        engine.generate([ask(number, made) for number, made in enumerate(prompts)])
        engine.score(prompts, pictures=[made.pictures for made in prompts])
        assert sum(seen) == 3
        engine.load_weights({}, 2)
        engine.generate([ask(0, prompts[0])])
    assert sum(seen) == 4


def test_new_weights_of_the_tower_are_used(tmp_path: Path) -> None:
    model, tokenizer = load_spread(write_model(tmp_path, "qwen3-vl"))
    engine = LocalEngine(model, tokenizer, max_context=400)
    made = prompt(tokenizer, (5, picture(1), 4))
    (before,) = engine.generate([ask(0, made)])
    changed = {
        name: value.detach() + 0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
        for name, value in model.named_parameters()
        if "visual" in name
    }
    engine.load_weights(changed, 2)
    (after,) = engine.generate([ask(0, made)])
    check(model, made, after)
    assert after.logprobs != pytest.approx(before.logprobs, abs=1e-3)


def test_scores_are_those_of_the_plain_forward(loaded: Loaded) -> None:
    model, tokenizer = loaded
    prompts = [prompt(tokenizer, parts, seed) for seed, parts in enumerate(PARTS)]
    scores = LocalEngine(model, tokenizer).score(prompts, pictures=[made.pictures for made in prompts])
    for made, score in zip(prompts, scores, strict=True):
        with torch.no_grad():
            expected = plain_logprobs(model, made, made.pictures).numpy()
        np.testing.assert_allclose(score[1:], expected, atol=1e-4)


def test_a_placeholder_the_policy_wrote_itself_is_a_word(loaded: Loaded) -> None:
    model, tokenizer = loaded
    token = model.config.image_token_id
    made = prompt(tokenizer, (5, picture(1), 4))
    written = Prompt([*made, token, token, 7], made.pictures)
    engine = LocalEngine(model, tokenizer)
    (score,) = engine.score([written], pictures=[written.pictures])
    (done,) = engine.generate([ask(0, written, length=1)])
    (again,) = engine.score([[*written, *done.token_ids]], pictures=[written.pictures])
    assert np.isfinite(score).all()
    assert done.logprobs[0] == pytest.approx(float(again[-1]), abs=1e-4)


def test_pictures_are_refused_where_they_cannot_be(loaded: Loaded, tiny: Loaded) -> None:
    model, tokenizer = loaded
    made = prompt(tokenizer, (5, picture(1), 4))
    with pytest.raises(ModelError, match="reads text only"):
        LocalEngine(*tiny).submit(ask(0, Prompt([1, 2, 3], [Placed(1, 2, picture(1))])))
    wrong = Prompt(made, [made.pictures[0].moved(len(made))])
    with pytest.raises(ValueError, match="to a picture of 12 tokens"):
        LocalEngine(model, tokenizer).submit(ask(0, wrong))
