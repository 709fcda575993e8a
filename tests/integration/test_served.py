"""The project's own model behind `transformers serve`; skipped where that cannot be started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from himac.agents.chat import ChatFormat
from himac.config import Config
from himac.config_file import load_config
from himac.engines.base import GenerateRequest, SamplingParams
from himac.engines.local.engine import LocalEngine
from himac.errors import EndpointError
from himac.evaluation.evaluate import evaluate
from himac.models.loading import load_model
from himac.rollout.runtime import build_benchmark, build_runtime
from support.served import MISSING, prepared, transformers_serve

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}; pip install 'transformers[serving]'"
)
CAP = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_serve(tmp_path_factory.mktemp("serve") / "log.txt") as url:
        yield url


@pytest.fixture(scope="module")
def served_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tiny_model, tmp_path_factory.mktemp("served") / "model")


def remote(yaml: Path, url: str, model: Path, *more: str) -> Config:
    own = ("engine.name=openai", f"engine.model={model}", f"engine.base_url={url}", "engine.max_tries=1")
    return load_config(yaml, [*own, "env.step_limit=4", f"agent.executor.max_tokens={CAP}", *more])


def test_episodes_of_a_served_model(server: str, served_model: Path, tiny_yaml: Path) -> None:
    """Every reply in them, and every bill, is that of the local engine in the same conversation."""
    config = remote(tiny_yaml, server, served_model)
    benchmark = build_benchmark(config)
    model, tokenizer = load_model(served_model)
    local, chat = LocalEngine(model, tokenizer, max_context=2048), ChatFormat(tokenizer)
    with build_runtime(config, None, 2, benchmark) as runtime:
        episodes = evaluate(runtime, benchmark.tasks("valid")[:2], blueprints="random")
        turns = [(part, turn) for episode in episodes for part in episode.segments for turn in part.turns]
        prompts = [part.token_ids[: turn.start].tolist() for part, turn in turns]
        there = runtime.engine.generate([ask(number, ids, ()) for number, ids in enumerate(prompts)])
        conversations = [runtime.engine.tokenizer.messages(ids) for ids in prompts]
        decode = runtime.agent.chat.decode_reply
        played = [decode(part.token_ids[turn.start : turn.end].tolist()) for part, turn in turns]
    assert [episode.error for episode in episodes] == [None, None]
    assert len(turns) >= 4
    spelled = [
        tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        for messages in conversations
    ]
    here = local.generate([ask(number, ids, chat.stop_token_ids) for number, ids in enumerate(spelled)])
    texts = [chat.decode_reply(done.token_ids) for done in here]
    assert played == [done.text for done in there] == texts
    assert len(set(texts)) > 1
    assert [done.billed for done in there] == [
        (len(ids), len(done.token_ids)) for ids, done in zip(spelled, here, strict=True)
    ]
    # A reply that ends with the last token it may have counts as cut off at this server.
    assert [done.finished for done in there] == [done.finished and len(done.token_ids) < CAP for done in here]
    assert any(done.finished for done in there)


def ask(number: int, ids: list[int], ends: tuple[int, ...]) -> GenerateRequest:
    return GenerateRequest(number, number, ids, SamplingParams(CAP, temperature=0.0, stop_token_ids=ends))


def test_a_model_without_response_template_is_refused(
    server: str, tiny_model: Path, tiny_yaml: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(tiny_model, plain)
    settings = plain / "tokenizer_config.json"
    kept = json.loads(settings.read_text(encoding="utf-8"))
    kept.pop("response_template", None)
    settings.write_text(json.dumps(kept), encoding="utf-8")
    config = remote(tiny_yaml, server, plain, "agent.name=flat")
    benchmark = build_benchmark(config)
    with (
        build_runtime(config, None, 1, benchmark) as runtime,
        pytest.raises(EndpointError, match="puts the prompt into its replies"),
    ):
        evaluate(runtime, benchmark.tasks("valid")[:1])


def test_what_the_server_does_not_take_is_named(server: str, served_model: Path, tiny_yaml: Path) -> None:
    config = remote(tiny_yaml, server, served_model, "engine.extra={no_such_field: 1}")
    benchmark = build_benchmark(config)
    with (
        build_runtime(config, None, 1, benchmark) as runtime,
        pytest.raises(EndpointError, match=r"HTTP 422: .*no_such_field"),
    ):
        evaluate(runtime, benchmark.tasks("valid")[:1])
