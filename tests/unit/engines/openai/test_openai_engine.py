"""The engine against a real HTTP server: what is sent, what is made of the answers, and every way to misbehave."""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from himac.agents.chat import ChatFormat
from himac.engines.base import Completion, GenerateRequest, SamplingParams
from himac.engines.openai.engine import OpenAIEngine
from himac.engines.openai.settings import OpenAIConfig
from himac.engines.openai.tokenizer import END, ChatTokenizer
from himac.errors import ConfigError, EndpointError, MissingDependencyError, ModelError
from support.chat_server import Answer, ChatServer, Raw, chat, refusal

KEY = "sk-do-not-tell-anyone"
CHAT = ChatFormat(ChatTokenizer())
Make = Callable[..., tuple[OpenAIEngine, ChatServer]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Server and engine on it; `make(answer, **engine settings)`."""
    opened: list[Any] = []
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("himac.engines.openai.retry._FIRST_S", 0.02)

    def build(answer: Answer, **settings: Any) -> tuple[OpenAIEngine, ChatServer]:
        server = ChatServer(answer).__enter__()
        engine = OpenAIEngine(OpenAIConfig(model="m", base_url=server.url, **settings))
        opened.extend((server, engine))
        return engine, server

    yield build
    for one in reversed(opened):
        one.close() if isinstance(one, OpenAIEngine) else one.__exit__()


def ask(text: str = "hello", number: int = 0, **params: Any) -> GenerateRequest:
    return GenerateRequest(number, ("s", number), CHAT.open(text), SamplingParams(**{"max_new_tokens": 20, **params}))


def content(body: dict[str, Any]) -> str:
    text: str = body["messages"][0]["content"]
    return text


def one(engine: OpenAIEngine, **params: Any) -> Completion:
    return engine.generate([ask(**params)])[0]


def test_what_is_sent(make: Make) -> None:
    engine, server = make(lambda body, n: "ok", extra={"reasoning_effort": "low"}, omit=("seed",), logprobs=True)
    prompt = [*CHAT.open("rules"), *engine.tokenizer.encode("go"), END, *CHAT.follow("seen")]
    engine.generate([GenerateRequest(0, 0, prompt, SamplingParams(7, temperature=0.5, top_p=0.9, stop=("x",)))])
    assert server.bodies[0] == {
        "path": "/v1/chat/completions",
        "model": "m",
        "messages": [
            {"role": "user", "content": "rules"},
            {"role": "assistant", "content": "go"},
            {"role": "user", "content": "seen"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "stop": ["x"],
        "logprobs": True,
        "reasoning_effort": "low",
    }
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_greedy_requests_carry_no_seed_and_sampled_ones_do(make: Make) -> None:
    engine, server = make(lambda body, n: "ok", length_field="max_completion_tokens")
    one(engine, temperature=0.0, seed=5)
    one(engine, temperature=1.0, seed=2**31 + 5)
    assert [body.get("seed") for body in server.bodies] == [None, 5]
    assert [body.get("max_completion_tokens") for body in server.bodies] == [20, 20]


def test_reply_ended_by_the_model(make: Make) -> None:
    engine, _ = make(lambda body, n: chat("take mug 1 ☕", usage=(120, 9)))
    done = one(engine)
    assert done.text == "take mug 1 ☕"
    assert done.finished
    assert done.token_ids[-1] == END
    assert CHAT.decode_reply(done.token_ids) == "take mug 1 ☕"
    assert done.sampled == (True,) * len(done.token_ids)
    assert done.logprobs == (0.0,) * len(done.token_ids)
    assert done.billed == (120, 9)
    assert done.error is None


def test_reply_cut_at_the_length(make: Make) -> None:
    engine, _ = make(lambda body, n: chat("take mu", finish="length", usage=None))
    done = one(engine)
    assert not done.finished
    assert engine.tokenizer.decode(done.token_ids) == "take mu"
    assert done.billed is None


@pytest.mark.parametrize(("finish", "finished"), [("stop", True), ("length", False)])
def test_an_empty_reply_is_still_a_reply(make: Make, finish: str, finished: bool) -> None:
    engine, _ = make(lambda body, n: chat(None, finish=finish))  # a model that thought until its limit
    done = one(engine)
    assert (done.token_ids, done.sampled, done.finished, done.error) == ((END,), (finished,), finished, None)


def test_log_probabilities_stay_with_their_text(make: Make) -> None:
    # "☕" comes as a token of two bytes and one of a single byte, which are no text by themselves.
    tokens = [
        {"token": "take ", "logprob": -0.5, "bytes": None},
        {"token": "\\xe2\\x98", "logprob": -1.0, "bytes": [0xE2, 0x98]},
        {"token": "\\x95", "logprob": -0.25, "bytes": [0x95]},
    ]
    engine, _ = make(lambda body, n: chat("take ☕", logprobs=tokens))
    done = one(engine)
    # 5 bytes are two ids, then one id for each of the others, then the end marker.
    assert done.logprobs == (-0.5, 0.0, -1.0, -0.25, 0.0)
    assert CHAT.decode_reply(done.token_ids) == "take ☕"


@pytest.mark.parametrize(
    "logprobs", [[], [{"token": "other", "logprob": -1.0}], [{"token": "", "logprob": 0, "bytes": [999]}]]
)
def test_log_probabilities_of_another_text_are_not_used(make: Make, logprobs: list[Any]) -> None:
    engine, _ = make(lambda body, n: chat("take", logprobs=logprobs))
    done = one(engine)
    assert set(done.logprobs) == {0.0}
    assert done.text == "take"


def test_a_lone_surrogate_cannot_get_into_files(make: Make) -> None:
    engine, _ = make(lambda body, n: chat("a\ud800b"))
    assert one(engine).text == "a?b"


def test_completions_come_while_others_wait_and_in_order_from_generate(make: Make) -> None:
    delays = {"slow": 0.4, "quick": 0.0}
    engine, server = make(lambda body, n: Raw(content=chat(content(body)).content, delay_s=delays[content(body)]))
    engine.submit(ask("slow", 1))
    engine.submit(ask("quick", 2))
    first = until(engine, 1)
    assert [done.id for done in first] == [2]
    longest = 0.0
    while not (rest := timed(engine))[1]:
        longest = max(longest, rest[0])
    assert rest[1][0].id == 1
    assert longest < 0.2  # a step never waits for a slow answer
    assert [done.text for done in engine.generate([ask("slow", 3), ask("quick", 4)])] == ["slow", "quick"]
    assert server.peak == 2


def until(engine: OpenAIEngine, count: int, timeout_s: float = 10.0) -> list[Completion]:
    found: list[Completion] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count:
        assert time.monotonic() < deadline
        found += [done for _, done in engine.step()]
    return found


def timed(engine: OpenAIEngine) -> tuple[float, list[Completion]]:
    started = time.monotonic()
    done = [one for _, one in engine.step()]
    return time.monotonic() - started, done


def test_generate_keeps_what_others_submitted(make: Make) -> None:
    engine, _ = make(lambda body, n: content(body))
    engine.submit(ask("first", 1))
    time.sleep(0.2)
    assert [done.text for done in engine.generate([ask("second", 2)])] == ["second"]
    assert [done.text for done in until(engine, 1)] == ["first"]
    assert engine.step() == []


def test_concurrency_is_bounded_and_used(make: Make) -> None:
    engine, server = make(lambda body, n: Raw(content=chat("ok").content, delay_s=0.05), concurrency=3)
    done = engine.generate([ask(number=number) for number in range(10)])
    assert len(done) == 10
    assert server.peak == 3


def test_a_released_session_gives_no_completion(make: Make) -> None:
    engine, _ = make(lambda body, n: Raw(content=chat("late").content, delay_s=0.1 if n == 0 else 0.3))
    engine.release("never seen")
    engine.submit(ask(number=1))
    engine.submit(ask(number=2))
    engine.release(("s", 1))
    assert [done.id for done in until(engine, 1)] == [2]
    time.sleep(0.1)
    assert engine.step() == []


FAULTS: dict[str, Raw] = {
    "429": refusal(429, "slow down"),
    "500": refusal(500, "oops"),
    "503 without a body": Raw(503),
    "half a body": Raw(content=chat("never read").content[:40], promised=len(chat("never read").content)),
    "bad JSON": Raw(content=b'{"choices": [}'),
    "not UTF-8": Raw(content=b"\xff\xfe{"),
    "no text at all": Raw(content=b""),
    "a list": Raw(content=b"[]"),
    "wrong schema": Raw(content=json.dumps({"choices": [{"text": "old protocol"}]}).encode()),
    "no choices": Raw(content=b'{"choices": []}'),
    "an error with status 200": Raw(content=b'{"error": {"message": "upstream"}}'),
    "HTML": Raw(content=b"<html>gateway</html>", headers={"Content-Type": "text/html"}),
    "nested too deep": Raw(content=b"[" * 20_000),
    "hang": Raw(content=chat("late").content, delay_s=60.0),
    "drip": Raw(content=chat("late").content, drip_s=0.2),
}


def test_faults_that_pass_are_tried_again(make: Make) -> None:
    seen = Counter[str]()

    def answer(body: dict[str, Any], n: int) -> Raw | str:
        seen[content(body)] += 1
        return FAULTS[content(body)] if seen[content(body)] < 3 else f"at last after {content(body)}"

    engine, _ = make(answer, timeout_s=3.0)
    done = engine.generate([ask(fault, number) for number, fault in enumerate(FAULTS)])
    assert [(one.text, one.error) for one in done] == [(f"at last after {fault}", None) for fault in FAULTS]
    assert min(seen.values()) == 3
    assert (engine.totals.requests, engine.totals.failures) == (seen.total(), 0)
    assert engine.totals.retries == seen.total() - len(FAULTS)


def test_faults_that_stay_end_their_own_request_only(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    engine, server = make(lambda body, n: FAULTS.get(content(body), "fine"), timeout_s=3.0, max_tries=2)
    with caplog.at_level(logging.INFO):
        *doomed, fine = engine.generate([ask(text, number) for number, text in enumerate([*FAULTS, "a good one"])])
    assert (fine.text, fine.error) == ("fine", None)
    for done in doomed:
        assert (done.token_ids, done.finished) == ((), False)
        assert done.error is not None
        assert "no answer after 2 tries" in done.error
    assert len(server.bodies) == 2 * len(FAULTS) + 1
    assert engine.totals.failures == len(FAULTS)
    causes = dict(zip(FAULTS, (done.error or "" for done in doomed), strict=True))
    assert "HTTP 429: slow down" in causes["429"]
    assert "no answer within 3 s" in causes["hang"]
    assert "no answer within 3 s" in causes["drip"]
    assert "not valid JSON" in causes["bad JSON"]
    assert "choices" in causes["wrong schema"]
    assert "the connection to http://127.0.0.1" in causes["half a body"]
    assert "engine_error" in caplog.text
    assert KEY not in caplog.text


def test_a_server_that_is_not_there(make: Make) -> None:
    engine, server = make(lambda body, n: "ok", max_tries=2)
    server.__exit__()
    error = one(engine).error
    assert error is not None
    assert "the connection to http://127.0.0.1" in error


def test_an_address_is_shown_without_password_and_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hunter2@127.0.0.1:1/v1?api-key=hunter3")
    engine = OpenAIEngine(OpenAIConfig(model="m", max_tries=1))
    error = one(engine).error
    engine.close()
    assert error is not None
    assert "the connection to http://127.0.0.1:1/v1" in error
    assert "hunter" not in error


def test_a_key_that_is_repeated_is_not_kept(make: Make) -> None:
    """Neither as text nor as the tokens of one; a common word that stands for a key is left in peace."""
    tokens = [{"token": part, "logprob": -0.5} for part in ("say ", KEY)]
    engine, _ = make(lambda body, n: chat(f"say {KEY}", logprobs=tokens), logprobs=True)
    answer = one(engine)
    assert answer.text == "say ***"
    assert KEY not in engine.tokenizer.decode(answer.token_ids)
    engine._key = "say"
    assert one(engine).text == f"say {KEY}"


def test_a_key_in_the_settings_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="the key itself stands in the settings of engine") as error:
        make(lambda body, n: "ok", extra={"user": KEY})
    assert KEY not in str(error.value)


def test_retry_after_is_honoured_by_every_request(make: Make) -> None:
    engine, server = make(lambda body, n: refusal(429, Retry_After="0.5") if n == 0 else "ok")
    engine.submit(ask(number=1))
    while not server.times:
        engine.step()
    time.sleep(0.1)
    engine.submit(ask(number=2))
    until(engine, 2)
    first, *others = server.times
    assert len(others) == 2
    assert min(others) - first >= 0.5


def test_a_wait_beyond_the_bound_ends_the_request(make: Make) -> None:
    engine, server = make(lambda body, n: refusal(429, "daily quota", Retry_After="86400"), max_wait_s=5.0)
    error = one(engine).error
    assert error is not None
    assert "86400 s, longer than engine.max_wait_s" in error
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(401, f"Incorrect API key provided: {KEY}"), "refuses the key (HTTP 401); check"),
        (refusal(402, "top up"), "asks for payment (HTTP 402: top up)"),
        (refusal(403, f"key {KEY} may not"), "forbids the request (HTTP 403: key *** may not)"),
        (refusal(404, "no model m"), "knows no such model (HTTP 404: no model m)"),
        (refusal(429, "pay first", "insufficient_quota"), "has no credit left"),
        (refusal(400, "unknown field seed"), "refuses the request (HTTP 400: unknown field seed); leave fields out"),
        (Raw(422, b'{"detail": "Unexpected fields: seed"}'), "(HTTP 422: Unexpected fields: seed); leave fields out"),
        (Raw(400, b'{"error": "unknown field seed"}'), "(HTTP 400: unknown field seed); leave fields out"),
        (Raw(400, b"unknown field\nseed"), "(HTTP 400: unknown field seed); leave fields out"),
        (Raw(400, b"<html>proxy</html>"), "(HTTP 400: Error code: 400); leave fields out"),
    ],
)
def test_what_no_request_can_survive_stops_at_once(make: Make, answer: Raw, words: str) -> None:
    engine, server = make(lambda body, n: answer)
    for number in range(3):
        engine.submit(ask(number=number))
    with pytest.raises(EndpointError) as caught:
        until(engine, 3)
    message = str(caught.value)
    assert words in message
    assert KEY not in message
    assert "\n" not in message
    assert len(server.bodies) <= 3


RULES = "You are in a room with a desk. Go to the desk."


@pytest.mark.parametrize("shown", [f"system<|user|>{RULES}<|assistant|>", f"{RULES}\n"])
def test_a_prompt_in_front_of_the_reply_stops_at_once(make: Make, shown: str) -> None:
    engine, _ = make(lambda body, n: chat(f"{shown}go to desk 1", usage=(40, 5)))
    engine.submit(ask(RULES))
    with pytest.raises(EndpointError, match=r"puts the prompt into its replies.*response_template \(docs/prompting"):
        until(engine, 1)


@pytest.mark.parametrize(
    ("prompt", "text", "usage"),
    [
        (RULES, f"{RULES} go to desk 1", (40, 20)),  # the model's own words: they are billed
        (RULES, f"{RULES} go to desk 1", (40, 0)),  # no bill worth the name
        (RULES, f"{RULES} go to desk 1", None),
        (RULES, "go to the desk of the room that you are in with the desk", (40, 4)),  # other words
        ("desk 1: mug 1", "desk 1: mug 1. I shall take it.", (40, 3)),
    ],
)
def test_a_model_may_quote_its_prompt(make: Make, prompt: str, text: str, usage: tuple[int, int] | None) -> None:
    engine, _ = make(lambda body, n: chat(text, usage=usage))
    assert one(engine, text=prompt).text == text


def test_answers_are_kept_from_a_refusal_that_comes_with_them(make: Make) -> None:
    """They are paid for: an episode that they end can still be written down."""
    key_is_wrong = refusal(401)
    engine, server = make(lambda body, n: key_is_wrong if content(body) == "bad" else content(body))
    for number, text in enumerate(("first", "bad", "last")):
        engine.submit(ask(text, number))
    while engine._pending._done.qsize() < 3:
        time.sleep(0.01)
    assert sorted(done.text for _, done in engine.step()) == ["first", "last"]
    with pytest.raises(EndpointError, match="refuses the key"):
        engine.step()
    assert engine.step() == []
    engine.submit(ask("other", 3))
    while engine._pending._done.qsize() < 1:
        time.sleep(0.01)
    with pytest.raises(EndpointError, match="refuses the key"):
        engine.generate([ask("good", 4), ask("bad", 5)])
    assert sorted(done.text for done in until(engine, 2)) == ["good", "other"]
    assert len(server.bodies) == 6


def test_a_refused_request_does_not_end_a_run_that_works(make: Make) -> None:
    engine, _ = make(lambda body, n: "ok" if n == 0 else refusal(400, "flagged by the content filter"))
    assert one(engine).text == "ok"
    assert one(engine).error == "HTTP 400: flagged by the content filter"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(400, "too many tokens", "context_length_exceeded"),
        refusal(400, "This model's maximum context length is 8192 tokens"),
        Raw(400, b'{"detail": "This model\'s maximum context length is 8192 tokens"}'),
    ],
)
def test_a_prompt_that_is_too_long_is_a_full_context(make: Make, answer: Raw) -> None:
    engine, _ = make(lambda body, n: answer)
    done = one(engine)
    assert (done.token_ids, done.error) == ((), None)  # what an episode takes as its context limit


def test_own_limits_cost_no_request(make: Make) -> None:
    engine, server = make(lambda body, n: "ok", max_context=8)
    assert one(engine, text="a prompt of more than eight ids").token_ids == ()
    assert one(engine, text="a", max_new_tokens=0).token_ids == ()
    assert server.bodies == []


def test_scores_and_weights_are_refused(make: Make) -> None:
    engine, _ = make(lambda body, n: "ok")
    with pytest.raises(ModelError, match=r"cannot score.*engine\.name=local"):
        engine.score([[1, 2]])
    with pytest.raises(ModelError, match=r"takes no weights.*engine\.name=local"):
        engine.load_weights({}, 2)


def test_close_does_not_wait_for_answers(make: Make) -> None:
    engine, _ = make(lambda body, n: Raw(content=chat("late").content, delay_s=30.0))
    engine.submit(ask())
    time.sleep(0.1)
    started = time.monotonic()
    engine.close()
    engine.close()
    assert time.monotonic() - started < 3.0


def test_close_gives_up_on_connections_that_hang(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = make(lambda body, n: "ok")

    async def hang() -> None:
        await asyncio.sleep(600)

    monkeypatch.setattr("himac.engines.openai.engine._CLOSE_S", 0.1)
    monkeypatch.setattr(engine, "_end", hang)
    engine.close()
    assert engine._loop.is_closed()


def test_keys_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="MY_KEY"):
        OpenAIEngine(OpenAIConfig(model="m", key_variable="MY_KEY"))
    with ChatServer(lambda body, n: "ok") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        engine = OpenAIEngine(OpenAIConfig(model="m"))  # a local server needs no key
        assert one(engine).text == "ok"
        engine.close()
    monkeypatch.setenv("OPENAI_API_KEY", "kéy")
    with pytest.raises(ConfigError, match="characters no key has"):
        OpenAIEngine(OpenAIConfig(model="m"))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openai":
            raise ModuleNotFoundError("No module named 'openai'", name="openai")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'himac\[api\]'"):
        OpenAIEngine(OpenAIConfig(model="m", base_url="http://localhost:1"))
