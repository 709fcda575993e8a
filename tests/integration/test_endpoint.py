"""`himac eval` through an endpoint: killed and resumed, and the project's own model behind it."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from himac.agents.chat import ChatFormat
from himac.config import Config
from himac.config_file import load_config
from himac.engines.base import GenerateRequest, SamplingParams
from himac.engines.local.engine import LocalEngine
from himac.evaluation.evaluate import evaluate
from himac.models.loading import load_model
from himac.rollout.runtime import build_benchmark, build_runtime
from support.chat_server import Body, ChatServer, Raw, chat, refusal, said
from support.cli import Cli, lines

STEPS = 4


def eval_args(url: str, agent: str, output: str, *more: str) -> tuple[str, ...]:
    prompting = Path(__file__).resolve().parents[2] / "configs" / "alfworld" / "prompting.yaml"
    settings = (
        "env.kwargs.data=builtin:small",
        f"env.step_limit={STEPS}",
        "engine.model=m",
        f"engine.base_url={url}",
        "eval.max_live=3",
        "agent.prompting.trials=2",
    )
    return ("eval", str(prompting), "--agent", agent, "--output", output, "--limit", "8", *more, *settings)


def looker(body: Body, number: int) -> Raw | str:
    if "went wrong" in said(body):
        return "Look elsewhere."
    if "numbered list" in said(body):
        return "1. look around\n2. look again"
    return Raw(content=chat("Thought: hm\nAction: look").content, delay_s=0.03)


@pytest.mark.parametrize("agent", ["react", "reflexion", "hierarchical"])
def test_killed_and_resumed_it_pays_for_nothing_twice(cli: Cli, agent: str) -> None:
    with ChatServer(looker) as server:
        whole = cli.run(*eval_args(server.url, agent, "whole"))
        assert whole.code == 0, whole.err
        needed = len(server.bodies)

        output = cli.folder / "killed"
        running = cli.start(*eval_args(server.url, agent, "killed"))
        journal = output / ("trials.jsonl" if agent == "reflexion" else "results.jsonl")
        assert running.when(lambda: lines(journal) >= 3).send(signal.SIGKILL).code == -signal.SIGKILL
        kept = [json.loads(line) for line in (output / "results.jsonl").open(encoding="utf-8")]
        trials = [json.loads(line) for line in (output / "trials.jsonl").open(encoding="utf-8")]
        assert len(kept) < 8
        before = len(server.bodies)
        resumed = cli.run(*eval_args(server.url, agent, "killed", "--resume"))
        assert resumed.code == 0, resumed.err
        asked = len(server.bodies) - before

    paid = sum(line["usage"]["requests"] for line in kept)
    last = {(line["task_id"], line["trial"]): line for line in trials}
    finished = {line["task_id"] for line in kept}
    paid += sum(line["usage"]["requests"] for (task, _), line in last.items() if task not in finished)
    assert asked == needed - paid
    for name in ("results.jsonl", "summary.json"):
        one, two = ((cli.folder / folder / name).read_text(encoding="utf-8") for folder in ("whole", "killed"))
        if name == "summary.json":  # what this process asked for differs, and nothing else
            one, two = (
                json.dumps({k: v for k, v in json.loads(text).items() if k != "endpoint"}) for text in (one, two)
            )
        assert one == two


def test_a_refused_key_is_one_sentence_and_exit_code_9(cli: Cli) -> None:
    cli.env["OPENAI_API_KEY"] = "sk-wrong"
    with ChatServer(lambda body, n: refusal(401, "bad key sk-wrong")) as server:
        done = cli.run(*eval_args(server.url, "react", "out"))
        assert done.code == 9
        assert len(done.errors) == 1
        assert "refuses the key" in done.errors[0]
        assert "sk-wrong" not in done.out + done.err
        server.answer = looker
        assert cli.run(*eval_args(server.url, "react", "out", "--resume")).code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train", "{config}", "engine.name=openai", "engine.model=m"), "training needs the weights"),
        (("warmstart", "{config}", "warm", "engine.name=openai", "engine.model=m"), "a warm start needs the weights"),
        (("eval", "{config}", "--output", "o", "--model", "m", "engine.name=openai"), "--model is a directory"),
        (("eval", "{config}", "--output", "o", "engine.name=openai"), "needs engine.model"),
        (("eval", "{config}", "--output", "o", "--agent", "reactt"), "agent.name"),
        (("eval", "{config}", "--output", "o", "--agent", "react", "engine.name=openai", "engine.model=m"), "no rules"),
        (("eval", "{config}", "--output", "o", "engine={{name: openai, base_url: 'http://me:pw@host'}}"), "hold a key"),
    ],
)
def test_what_cannot_be_done_is_refused(cli: Cli, tiny_yaml: Path, args: tuple[str, ...], words: str) -> None:
    cli.env["OPENAI_API_KEY"] = "sk-x"
    done = cli.run(*(arg.format(config=tiny_yaml) for arg in args))
    assert done.code == 2
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert "pw" not in done.errors[0]


class ServedModel:
    """The local engine behind chat messages, greedy, one request at a time.

    It remembers how it spelled its replies: a model that babbles would spell the same text in other tokens.
    """

    def __init__(self, path: Path, config: Config) -> None:
        model, tokenizer = load_model(str(path))
        self.engine = LocalEngine(model, tokenizer, max_context=config.agent.max_context)
        self.chat = ChatFormat(tokenizer)
        self.lock = threading.Lock()
        self.spelled: dict[str, list[int]] = {}

    def __call__(self, body: Body, number: int) -> Raw:
        first, *rest = body["messages"]
        ids = self.chat.open(first["content"])
        for place, message in enumerate(rest, 2):
            if message["role"] == "assistant":
                ids += self.spelled[json.dumps(body["messages"][:place])]
            else:
                ids += self.chat.follow(message["content"])
        room = self.engine.max_context - len(ids)
        if room <= 0:
            return refusal(400, "the prompt is too long", "context_length_exceeded")
        params = SamplingParams(
            max_new_tokens=min(body["max_tokens"], room),
            temperature=body["temperature"],
            stop_token_ids=self.chat.stop_token_ids,
        )
        with self.lock:
            (done,) = self.engine.generate([GenerateRequest(number, number, ids, params)])
            self.engine.release(number)
        text = self.chat.decode_reply(done.token_ids)
        after = [*body["messages"], {"role": "assistant", "content": text}]
        self.spelled[json.dumps(after)] = [*done.token_ids, *(() if done.finished else self.chat.end_ids)]
        return chat(text, "stop" if done.finished else "length", (len(ids), len(done.token_ids)))


@pytest.mark.parametrize("agent", ["hierarchical", "flat"])
def test_the_same_model_plays_the_same_behind_an_endpoint(agent: str, tiny_yaml: Path, tiny_model: Path) -> None:
    config = load_config(tiny_yaml, [f"agent.name={agent}", f"model.path={tiny_model}"])
    benchmark = build_benchmark(config)
    tasks = benchmark.tasks("valid")[:6]
    with build_runtime(config, None, 4, benchmark) as runtime:
        local = evaluate(runtime, tasks)
    with ChatServer(ServedModel(tiny_model, config)) as server:
        remote_config = load_config(
            tiny_yaml, [f"agent.name={agent}", "engine.name=openai", "engine.model=m", f"engine.base_url={server.url}"]
        )
        with build_runtime(remote_config, None, 4, benchmark) as runtime:
            remote = evaluate(runtime, tasks)
    facts: list[list[Any]] = [
        [(e.blueprint, e.stop, e.ret, [(t.action, t.observation, t.sub_done) for t in e.turns]) for e in episodes]
        for episodes in (local, remote)
    ]
    assert facts[0] == facts[1]
    assert sum(episode.env_steps for episode in local) >= len(tasks)
    assert len({turn.action for episode in local for turn in episode.turns}) > 1
