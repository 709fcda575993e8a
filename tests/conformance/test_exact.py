"""The exact level: tokens and log-probabilities are those of a plain forward, however work is batched."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from conformance.reference import ARCHITECTURES, Plain, build
from himac.config import ENGINES, engine_settings
from himac.engines.base import Completion, Engine, GenerateRequest, SamplingParams
from himac.engines.local.engine import LocalEngine

EngineFactory = Callable[..., Engine]
EXACT: dict[str, EngineFactory] = {"local": LocalEngine}
GREEDY = SamplingParams(max_new_tokens=6, temperature=0)


@pytest.fixture(params=EXACT)
def make(request: pytest.FixtureRequest, tiny: tuple[Any, Any]) -> EngineFactory:
    """Engine constructor on the tiny model, options as keywords."""
    factory = EXACT[request.param]
    return lambda **options: factory(*tiny, **{"max_context": 400, **options})


def test_every_engine_that_says_so_is_tried() -> None:
    assert set(EXACT) == {name for name in ENGINES.builtin if engine_settings(name).can.exact}


@pytest.fixture(scope="module")
def plain(tiny: tuple[Any, Any]) -> Plain:
    return Plain(tiny[0])


def random_tokens(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 300, count).tolist()


def request(number: int, prompt: Sequence[int], params: SamplingParams = GREEDY) -> GenerateRequest:
    return GenerateRequest(id=number, session=("s", number), prompt_ids=prompt, params=params)


def drain(engine: Engine, count: int) -> dict[Any, Completion]:
    found: dict[Any, Completion] = {}
    while len(found) < count:
        for _, completion in engine.step():
            assert completion.id not in found
            found[completion.id] = completion
    return found


@pytest.mark.parametrize("max_slots", [1, 3, 64])
def test_ragged_batch_is_a_plain_forward(make: EngineFactory, plain: Plain, max_slots: int) -> None:
    prompts = [random_tokens(index, length) for index, length in enumerate([1, 2, 17, 60, 5, 133, 40, 300])]
    done = make(max_slots=max_slots).generate([request(i, prompt) for i, prompt in enumerate(prompts)])
    assert [completion.id for completion in done] == list(range(len(prompts)))
    for prompt, completion in zip(prompts, done, strict=True):
        assert len(completion.token_ids) == 6
        assert completion.sampled == (True,) * 6
        assert not completion.finished
        plain.check(prompt, completion.token_ids, completion.logprobs)


@pytest.mark.parametrize("cache_prefixes", [True, False])
@pytest.mark.parametrize("max_slots", [2, 5, 64])
def test_turns_of_sessions_that_share_a_prompt(
    make: EngineFactory, plain: Plain, max_slots: int, cache_prefixes: bool
) -> None:
    engine = make(max_slots=max_slots, cache_prefixes=cache_prefixes)
    groups = [random_tokens(1, 20) + random_tokens(2 + group, 25) for group in range(3)]
    contexts = [list(groups[index % 3]) for index in range(9)]  # 3 members a group; all share 20 tokens
    for turn in range(3):
        done = engine.generate([request(index, context) for index, context in enumerate(contexts)])
        for index, completion in enumerate(done):
            plain.check(contexts[index], completion.token_ids, completion.logprobs)
            contexts[index] += [*completion.token_ids, *random_tokens(100 * turn + index, 3 + 7 * (index % 4))]


def test_a_prompt_that_rewrites_history(make: EngineFactory, plain: Plain) -> None:
    engine = make()
    first = random_tokens(1, 80)
    for prompt in (first, first[:30] + random_tokens(2, 30), first[:10], first[:10], random_tokens(3, 50)):
        (completion,) = engine.generate([request(0, prompt)])
        plain.check(prompt, completion.token_ids, completion.logprobs)


def test_interleaved_arrivals_and_releases(make: EngineFactory, plain: Plain) -> None:
    engine = make(max_slots=3)
    rng = np.random.default_rng(5)
    stem = random_tokens(9, 24)
    prompts: dict[int, list[int]] = {}
    found: dict[int, Completion] = {}
    for number in itertools.count():
        if number < 12:
            prompts[number] = [*stem[: int(rng.integers(1, 25))], *random_tokens(number, int(rng.integers(1, 50)))]
            length = int(rng.integers(1, 9))
            engine.submit(request(number, prompts[number], SamplingParams(length, temperature=0)))
        for _, completion in engine.step():
            found[completion.id] = completion
            if completion.id % 2:
                engine.release(("s", completion.id))
        if len(found) == 12:
            break
        assert number < 200, "the engine does not make progress"
    for number, completion in found.items():
        plain.check(prompts[number], completion.token_ids, completion.logprobs)


def test_idle_sessions_give_way_and_come_back(make: EngineFactory, plain: Plain) -> None:
    engine = make(max_slots=2)
    contexts = [random_tokens(index, 30) for index in range(5)]
    for turn in range(3):
        for index in range(5):  # one at a time: three of five sessions have lost their slot each time
            (completion,) = engine.generate([request(index, contexts[index])])
            plain.check(contexts[index], completion.token_ids, completion.logprobs)
            contexts[index] += [*completion.token_ids, *random_tokens(turn, 4)]


def sampled(number: int, seed: int, **options: Any) -> GenerateRequest:
    params = SamplingParams(max_new_tokens=8, seed=seed, **options)
    return request(number, random_tokens(number % 4, 20 + number % 4), params)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"top_p": 0.8}, {"temperature": 1.3, "top_p": 0.5}])
def test_draws_do_not_depend_on_the_batch(make: EngineFactory, options: dict[str, float]) -> None:
    requests = [sampled(number, seed=number * 31, **options) for number in range(12)]
    together = make().generate(requests)
    alone = [make(max_slots=1).generate([one])[0] for one in requests]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert len({one.token_ids for one in together}) > 6  # seeds matter


def test_greedy_and_sampled_requests_share_a_batch(make: EngineFactory) -> None:
    mixed = [sampled(0, 3), sampled(1, 3, temperature=0), sampled(2, 3, top_p=0.6), sampled(3, 3, temperature=0.5)]
    together = make().generate(mixed)
    assert [one.token_ids for one in together] == [make().generate([one])[0].token_ids for one in mixed]


def test_logprobs_are_those_of_the_sampling_distribution(make: EngineFactory, plain: Plain) -> None:
    for temperature in (1.0, 0.6):
        one = sampled(1, 11, temperature=temperature)
        (completion,) = make().generate([one])
        whole = [*one.prompt_ids, *completion.token_ids]
        expected = plain.logprobs(whole, temperature)[len(one.prompt_ids) - 1 :]
        assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (1.0, 0.7)])
def test_frequencies_are_the_probabilities(make: EngineFactory, plain: Plain, temperature: float, top_p: float) -> None:
    prompt, draws = random_tokens(3, 12), 3000
    engine = make(max_slots=500)
    params = [SamplingParams(1, temperature=temperature, top_p=top_p, seed=seed) for seed in range(draws)]
    done = engine.generate([request(number, prompt, one) for number, one in enumerate(params)])
    counts = Counter(completion.token_ids[0] for completion in done)
    probs = (plain.logits(prompt)[-1].double() / temperature).softmax(-1)
    order = probs.argsort(descending=True)
    before = probs[order].cumsum(0) - probs[order]
    kept = order[before < top_p]
    expected = (probs[kept] / probs[kept].sum()).tolist()
    by_token = dict(zip(kept.tolist(), expected, strict=True))
    assert set(counts) <= set(by_token)
    for completion in done[:200]:
        assert completion.logprobs[0] == pytest.approx(np.log(by_token[completion.token_ids[0]]), abs=1e-4)
    # Chi-square over the tokens expected at least five times, the rest pooled; its mean is its degrees of freedom k
    # and its deviation sqrt(2 k), so four deviations are passed once in some ten thousand seeds.
    common = [token for token, prob in by_token.items() if prob * draws >= 5]
    rest = 1 - sum(by_token[token] for token in common)
    cells = [(counts[token], by_token[token] * draws) for token in common]
    if rest * draws >= 5:
        cells.append((draws - sum(count for count, _ in cells), rest * draws))
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells)
    freedom = len(cells) - 1
    assert freedom >= 3
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


def test_stop_token_is_included(make: EngineFactory) -> None:
    prompt = random_tokens(2, 20)
    (free,) = make().generate([request(0, prompt, SamplingParams(8, temperature=0.9, seed=5))])
    stop = free.token_ids[3]
    cut = free.token_ids.index(stop) + 1
    (stopped,) = make().generate(
        [request(0, prompt, SamplingParams(8, temperature=0.9, seed=5, stop_token_ids=(399, stop)))]
    )
    assert stopped.token_ids == free.token_ids[:cut]
    assert len(stopped.logprobs) == len(stopped.sampled) == cut
    assert stopped.finished


def test_stop_string_may_span_tokens(make: EngineFactory, tiny: tuple[Any, Any]) -> None:
    tokenizer = tiny[1]
    for seed in range(20):
        params = SamplingParams(30, seed=seed)
        (free,) = make().generate([request(0, [1, 2, 3], params)])
        pieces = [tokenizer.decode([token], skip_special_tokens=True) for token in free.token_ids]
        index = next((i for i in range(9, 29) if pieces[i].isascii() and pieces[i + 1].isascii()), None)
        if index is None or not pieces[index] or not pieces[index + 1]:
            continue
        stop = pieces[index] + pieces[index + 1][0]
        stopping = SamplingParams(30, seed=seed, stop=("never to be seen", stop))
        (stopped,) = make().generate([request(0, [1, 2, 3], stopping)])
        assert stopped.finished
        assert stop in stopped.text
        assert stopped.token_ids == free.token_ids[: len(stopped.token_ids)]
        assert len(stopped.token_ids) <= index + 2
        shorter = tokenizer.decode(list(stopped.token_ids[:-1]), skip_special_tokens=True)
        assert stop not in shorter  # it ended at the first token that completed the string
        return
    pytest.fail("no sampled reply had two readable tokens in a row")


def test_text_shows_the_reply_without_control_tokens(make: EngineFactory, tiny: tuple[Any, Any]) -> None:
    tokenizer = tiny[1]
    (completion,) = make().generate([request(0, [5, 6, 7], SamplingParams(20, temperature=1.5, seed=1))])
    assert completion.text == tokenizer.decode(list(completion.token_ids), skip_special_tokens=True)


def test_length_and_context_limits(make: EngineFactory, plain: Plain) -> None:
    engine = make(max_context=40)
    prompts = [random_tokens(0, 37), random_tokens(1, 39), random_tokens(2, 40), random_tokens(3, 90)]
    done = engine.generate([request(index, prompt, GREEDY) for index, prompt in enumerate(prompts)])
    assert [len(completion.token_ids) for completion in done] == [3, 1, 0, 0]
    assert not any(completion.finished for completion in done)
    assert done[2].text == ""
    for prompt, completion in zip(prompts[:2], done[:2], strict=True):
        plain.check(prompt, completion.token_ids, completion.logprobs)
    (none,) = engine.generate([request(9, prompts[0], SamplingParams(0))])
    assert none.token_ids == ()


def test_step_returns_each_completion_as_soon_as_it_is_done(make: EngineFactory) -> None:
    engine = make()
    for number, length in enumerate((3, 1, 2)):
        engine.submit(request(number, [1, 2, 3 + number], SamplingParams(length, temperature=0)))
    order = [[completion.id for _, completion in engine.step()] for _ in range(3)]
    assert order == [[1], [2], [0]]
    assert engine.step() == []


def test_release_is_lenient_and_drops_what_is_under_way(make: EngineFactory, plain: Plain) -> None:
    engine = make(max_slots=1)
    engine.release("never seen")
    engine.submit(request(0, [1, 2, 3]))
    engine.submit(request(1, [4, 5, 6]))
    engine.step()
    engine.release(("s", 0))
    found = drain(engine, 1)
    assert list(found) == [1]
    plain.check([4, 5, 6], found[1].token_ids, found[1].logprobs)


def test_score_is_the_plain_log_softmax(make: EngineFactory, plain: Plain) -> None:
    sequences = [random_tokens(0, 50), [3], random_tokens(1, 2), random_tokens(2, 120), []]
    for temperature in (1.0, 0.5):
        scores = make().score(sequences, temperature)
        assert [len(score) for score in scores] == [50, 1, 2, 120, 0]
        assert all(score.dtype == np.float32 for score in scores)
        assert scores[1][0] == scores[0][0] == 0
        for index in (0, 2, 3):
            expected = plain.logprobs(sequences[index], temperature).numpy()
            np.testing.assert_allclose(scores[index][1:], expected, atol=1e-4)


def test_score_agrees_with_generation(make: EngineFactory) -> None:
    one = sampled(2, 7, temperature=0.8)
    (completion,) = make().generate([one])
    (score,) = make().score([[*one.prompt_ids, *completion.token_ids]], 0.8)
    assert score[len(one.prompt_ids) :].tolist() == pytest.approx(completion.logprobs, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture: str, tiny: tuple[Any, Any]) -> None:
    tokenizer = tiny[1]
    engine_model = build(architecture, len(tokenizer))
    reference = Plain(build(architecture, len(tokenizer)))  # never touched by the engine: transformers' own attention
    engine = LocalEngine(engine_model, tokenizer, max_slots=3, max_context=300)
    contexts = [random_tokens(0, 22) + random_tokens(index, 1 + 9 * index) for index in range(5)]
    for turn in range(2):
        done = engine.generate([request(index, context) for index, context in enumerate(contexts)])
        for index, completion in enumerate(done):
            reference.check(contexts[index], completion.token_ids, completion.logprobs)
            contexts[index] += [*completion.token_ids, *random_tokens(turn, 1 + 5 * index)]
    for context, score in zip(contexts, engine.score(contexts), strict=True):
        np.testing.assert_allclose(score[1:], reference.logprobs(context).numpy(), atol=1e-4)


def test_new_weights_replace_the_old_ones_and_their_cache(tiny: tuple[Any, Any]) -> None:
    tokenizer = tiny[1]
    other = build("qwen2", len(tokenizer))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    engine = LocalEngine(build("qwen2", len(tokenizer)), tokenizer)
    prompt = random_tokens(1, 60)
    (before,) = engine.generate([request(0, prompt)])
    engine.submit(request(1, prompt, SamplingParams(4, temperature=0)))
    first = engine.step()
    assert not first
    engine.load_weights({name: value.detach().clone() for name, value in other.named_parameters()}, 2)
    changed = Plain(other)
    (after,) = engine.generate([request(0, prompt)])
    assert after.logprobs != pytest.approx(before.logprobs, abs=1e-3)
    changed.check(prompt, after.token_ids, after.logprobs)
    # The request under way kept its first token and went on with the new weights.
    (carried,) = drain(engine, 1).values()
    expected = changed.logprobs([*prompt, *carried.token_ids])[len(prompt) :]
    assert carried.logprobs[1:] == pytest.approx(expected.tolist(), abs=1e-4)
