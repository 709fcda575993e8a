"""The contract: what every engine must do, whatever model is behind it and whatever else it can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from himac.agents.chat import ChatFormat
from himac.config import ENGINES, Capabilities, engine_settings
from himac.config_file import load_config
from himac.engines.base import Completion, Engine, GenerateRequest, SamplingParams, make_engine
from himac.errors import ModelError
from himac.models.policy import Policy
from support.chat_server import Body, ChatServer, Raw, chat
from support.vllm_engine import SMALL, for_vllm

Tiny = tuple[Any, Any]
CONTEXT = 200


@dataclass
class Tried:
    """An engine under test, made as a run makes it."""

    engine: Engine
    can: Capabilities

    def request(
        self, number: int, text: str = "go to drawer 10", length: int = 8, stop: tuple[str, ...] = ()
    ) -> GenerateRequest:
        prompt = ChatFormat(self.engine.tokenizer).open(text)
        return GenerateRequest(number, ("s", number), prompt, SamplingParams(length, temperature=0, stop=stop))

    def drain(self, count: int) -> list[tuple[int, Completion]]:
        found: list[tuple[int, Completion]] = []
        while len(found) < count:
            found += self.engine.step()
        return found


def local(tiny: Tiny) -> Iterator[Engine]:
    yield make_engine(load_config(None, [f"agent.max_context={CONTEXT}"]), Policy(*tiny, version=3), 3)


def openai(tiny: Tiny) -> Iterator[Engine]:
    def answer(body: Body, number: int) -> Raw:
        """As a model that says ten words whatever it is asked; an endpoint leaves the stop string out."""
        limit = body["max_tokens"]
        text = " ".join(f"word{n}" for n in range(min(limit, 10)))
        for stop in body.get("stop", ()):
            if stop in text:
                return chat(text.partition(stop)[0])
        return chat(text, finish="length" if limit < 10 else "stop")

    with ChatServer(answer) as server:
        settings = f"engine={{name: openai, model: m, base_url: '{server.url}', max_context: {CONTEXT}}}"
        yield make_engine(load_config(None, [settings]), None, 3)


def vllm(tiny: Tiny) -> Iterator[Engine]:
    yield make_engine(load_config(None, [f"agent.max_context={CONTEXT}", SMALL]), Policy(*for_vllm(tiny), version=3), 3)


MAKERS: dict[str, Callable[[Tiny], Iterator[Engine]]] = {"local": local, "openai": openai, "vllm": vllm}
SLOW_TO_START = {"vllm"}
"""Made once, and given the version of a new one before each test."""


def test_every_engine_is_tried() -> None:
    assert set(MAKERS) == set(ENGINES.builtin)
    assert all(engine_settings(name).model_fields["name"].default == name for name in ENGINES.builtin)


@pytest.fixture(scope="module")
def made(tiny: Tiny) -> Iterator[Callable[[str], Engine]]:
    """Makes an engine by its name; all are closed in the end."""
    with ExitStack() as stack:

        def make(name: str) -> Engine:
            if name == "vllm":
                pytest.importorskip("vllm")
            makers = MAKERS[name](tiny)
            stack.callback(lambda: next(makers, None))
            engine = next(makers)
            stack.callback(engine.close)  # does nothing
            stack.callback(engine.close)
            return engine

        kept = cache(make)
        yield lambda name: kept(name) if name in SLOW_TO_START else make(name)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.vllm if name == "vllm" else ()) for name in MAKERS])
def tried(request: pytest.FixtureRequest, made: Callable[[str], Engine]) -> Tried:
    engine = made(request.param)
    if request.param in SLOW_TO_START:
        engine.load_weights({}, 3)
    return Tried(engine, engine_settings(request.param).can)


def test_completions_are_whole_and_in_the_order_of_the_requests(tried: Tried) -> None:
    done = tried.engine.generate([tried.request(number, length=2 + number) for number in (5, 1, 3, 2, 4)])
    assert [one.id for one in done] == [5, 1, 3, 2, 4]
    chat = ChatFormat(tried.engine.tokenizer)
    for one in done:
        assert len(one.token_ids) == len(one.logprobs) == len(one.sampled) > 0
        assert one.error is None
        assert all(value <= 0 for value in one.logprobs)
        if tried.can.logprobs:
            assert any(one.logprobs)
        assert one.text
        assert chat.decode_reply(one.token_ids).startswith(one.text[:1])
        assert one.version == tried.engine.version
    assert tried.engine.generate([]) == []


def test_step_gives_each_completion_once_under_the_number_of_its_request(tried: Tried) -> None:
    numbers = {tried.engine.submit(tried.request(n, length=1 + n % 3)): n for n in range(7)}
    assert len(numbers) == 7
    found = tried.drain(7)
    assert {number: done.id for number, done in found} == numbers
    assert tried.engine.step() == []


def test_completions_of_others_are_not_lost_by_generate(tried: Tried) -> None:
    number = tried.engine.submit(tried.request(7, length=1))
    (own,) = tried.engine.generate([tried.request(8, length=3)])
    assert own.id == 8
    assert [(found, done.id) for found, done in tried.drain(1)] == [(number, 7)]


def test_a_reply_is_finished_by_its_stop_and_not_by_its_length(tried: Tried) -> None:
    (free,) = tried.engine.generate([tried.request(0, length=9)])
    assert not free.finished
    stop = [letter for letter in free.text if letter.isascii()][-1]
    (stopped,) = tried.engine.generate([tried.request(1, length=9, stop=("never to be seen", stop))])
    assert stopped.finished
    assert stopped.text.partition(stop)[0] == free.text.partition(stop)[0]  # with the stop string or without it


def test_a_full_context_gives_an_empty_reply_and_no_error(tried: Tried) -> None:
    for request in (tried.request(0, "drawer " * CONTEXT), tried.request(1, length=0)):
        (done,) = tried.engine.generate([request])
        assert (done.id, done.token_ids, done.finished, done.error) == (request.id, (), False, None)


def test_what_is_released_does_not_come_back(tried: Tried) -> None:
    tried.engine.release("never seen")
    for number in (0, 1):
        tried.engine.submit(tried.request(number))
    tried.engine.release(("s", 0))
    if tried.can.abort:
        assert [done.id for _, done in tried.drain(1)] == [1]
        assert tried.engine.step() == []
    else:
        assert {done.id for _, done in tried.drain(2)} == {0, 1}
    assert tried.engine.generate([tried.request(0)])[0].id == 0  # the session may begin anew


def test_it_goes_on_after_it_forgot(tried: Tried) -> None:
    (before,) = tried.engine.generate([tried.request(0)])
    tried.engine.forget()
    (after,) = tried.engine.generate([tried.request(0)])
    assert after.text == before.text


def test_scores_are_told_or_refused(tried: Tried) -> None:
    if not tried.can.logprobs:
        with pytest.raises(ModelError, match=r"cannot score.*engine\.name=local"):
            tried.engine.score([[1, 2]])
        return
    scores = tried.engine.score([[1, 2, 3], [4]])
    assert [(len(score), score.dtype, score[0]) for score in scores] == [(3, np.float32, 0), (1, np.float32, 0)]


def test_new_weights_are_taken_with_their_version_or_refused(tried: Tried) -> None:
    if not tried.can.weights:
        assert tried.engine.version == 0
        with pytest.raises(ModelError, match=r"takes no weights.*engine\.name=local"):
            tried.engine.load_weights({}, 2)
        return
    assert tried.engine.version == 3  # the policy's own
    tried.engine.submit(tried.request(0))
    tried.engine.load_weights({}, 4)
    (later,) = tried.engine.generate([tried.request(1)])
    ((_, earlier),) = tried.drain(1)
    assert (tried.engine.version, later.version, earlier.version) == (4, 4, 3)
