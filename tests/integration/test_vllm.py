"""A real vLLM, on a CPU: it says what the model says, is trained through, and each of its faults is one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from conformance.reference import Plain
from himac.config import Config
from himac.config_file import load_config
from himac.engines.base import Completion, Engine, GenerateRequest, SamplingParams, make_engine
from himac.engines.vllm.settings import VllmConfig
from himac.errors import EndpointError, ModelError
from himac.models.init_model import init_model
from himac.models.policy import Policy
from integration.conftest import TINY
from support.learning import CASES, LEARNER, learn, make_imitator, objection, toy_config
from support.tiny_engine import tiny, tiny_path
from support.vllm_engine import ARCHITECTURES, SMALL, random_model

__all__ = ["tiny", "tiny_path"]

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm")
psutil: Any = pytest.importorskip("psutil")  # comes with vLLM

Tiny = tuple[Any, Any]
ROUNDING = 2e-4


def config(*settings: str) -> Config:
    return load_config(None, ["agent.max_context=256", SMALL, *settings])


def tokens(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 300, count).tolist()


def ask(number: int, prompt: list[int], **options: Any) -> GenerateRequest:
    params = SamplingParams(**{"max_new_tokens": 6, "seed": number, **options})
    return GenerateRequest(number, ("s", number), prompt, params)


def gap(plain: Plain, prompt: list[int], done: Completion, temperature: float = 1.0) -> float:
    """Largest difference between what was told and what a plain forward gives."""
    whole = [*prompt, *done.token_ids]
    expected = plain.logprobs(whole, temperature)[len(prompt) - 1 :]
    return float((torch.tensor(done.logprobs) - expected).abs().max())


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request: pytest.FixtureRequest, tiny: Tiny) -> Iterator[tuple[Policy, Engine]]:
    policy = Policy(random_model(request.param, len(tiny[1])), tiny[1])
    parts = VllmConfig(cache_gib=0.1, options={"max_num_batched_tokens": 128})  # longer prompts are encoded in parts
    engine = make_engine(config().model_copy(update={"engine": parts}), policy, 4)
    yield policy, engine
    engine.close()


def test_log_probabilities_are_those_of_a_plain_forward(made: tuple[Policy, Engine]) -> None:
    policy, engine = made
    plain = Plain(policy.model)
    contexts = [tokens(1, 40) + tokens(2 + n, 30 * n) for n in range(6)]  # more than run at once, with one beginning
    temperatures = [1.0, 0.7, 0.0, 1.0, 1.3, 0.7]
    for _ in range(3):  # turns of a session extend its context
        asked = [ask(n, context, temperature=temperatures[n]) for n, context in enumerate(contexts)]
        replies = engine.generate(asked)
        assert len({reply.token_ids for reply in replies}) > 3  # no two requests share their draws
        for n, done in enumerate(replies):
            assert len(done.token_ids) == 6
            assert gap(plain, contexts[n], done, temperatures[n] or 1.0) < ROUNDING
            contexts[n] += [*done.token_ids, *tokens(n, 7)]
    for context, score in zip(contexts, engine.score(contexts), strict=True):
        np.testing.assert_allclose(score[1:], plain.logprobs(context).numpy(), atol=ROUNDING)


def test_greedy_replies_and_nuclei(made: tuple[Policy, Engine]) -> None:
    policy, engine = made
    plain, prompt = Plain(policy.model), tokens(3, 20)
    greedy, narrow = engine.generate([ask(0, prompt, temperature=0), ask(1, prompt, top_p=1e-6, max_new_tokens=1)])
    plain.check(prompt, greedy.token_ids, greedy.logprobs)
    # Of a nucleus of one token that token is certain.
    assert (narrow.token_ids[0], narrow.logprobs) == (greedy.token_ids[0], (0.0,))


def test_a_reply_ends_with_a_token_that_the_agent_names_and_no_other(made: tuple[Policy, Engine]) -> None:
    engine, prompt = made[1], tokens(4, 20)
    (free,) = engine.generate([ask(0, prompt, temperature=0, max_new_tokens=12)])
    end = free.token_ids[4]
    (stopped,) = engine.generate([ask(1, prompt, temperature=0, max_new_tokens=12, stop_token_ids=(end,))])
    assert stopped.token_ids == free.token_ids[: free.token_ids.index(end) + 1]
    assert (free.finished, stopped.finished) == (False, True)


def test_new_weights_are_sampled_with_at_once(made: tuple[Policy, Engine]) -> None:
    policy, engine = made
    prompt = tokens(5, 60)
    with torch.no_grad():
        before = gap(Plain(policy.model), prompt, engine.generate([ask(0, prompt)])[0])
        under_way = engine.submit(ask(1, prompt, max_new_tokens=150))
        while not engine._server.client.output_processor.request_states:  # type: ignore[attr-defined]
            time.sleep(0.01)
        for parameter in policy.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    policy.version += 1
    policy.hand_to(engine)
    assert engine.version == policy.version
    plain = Plain(policy.model)
    (after,) = engine.generate([ask(2, prompt)])  # its prefix was cached, with the old weights
    assert max(before, gap(plain, prompt, after)) < ROUNDING
    assert after.version == policy.version
    while not (done := dict(engine.step())):
        pass
    # The request under way went on with the new weights.
    carried = done[under_way]
    assert carried.version == policy.version - 1
    expected = plain.logprobs([*prompt, *carried.token_ids])[len(prompt) - 1 :]
    assert carried.logprobs[-20:] == pytest.approx(expected[-20:].tolist(), abs=ROUNDING)


def test_weights_that_are_left_out_stay(made: tuple[Policy, Engine]) -> None:
    policy, engine = made
    name = "model.layers.1.mlp.up_proj.weight"  # vLLM holds it in one tensor with another
    with torch.no_grad():
        policy.model.get_parameter(name).mul_(1.5)
    engine.load_weights({name: policy.model.get_parameter(name).detach().numpy()}, policy.version)
    prompt = tokens(6, 30)
    assert gap(Plain(policy.model), prompt, engine.generate([ask(0, prompt)])[0]) < ROUNDING
    with pytest.raises(ModelError, match="none of the model's"):
        engine.load_weights({"another.weight": torch.zeros(1)}, policy.version)
    with pytest.raises(ModelError, match=r"another shape than \(128, 64\)"):
        engine.load_weights({name: torch.zeros(2)}, policy.version)


def test_a_token_of_another_tokenizer_is_refused(made: tuple[Policy, Engine]) -> None:
    with pytest.raises(ModelError, match="use the tokenizer that belongs to the model"):
        made[1].submit(ask(0, [1, 10**6]))


def test_what_cannot_be_scored(made: tuple[Policy, Engine]) -> None:
    with pytest.raises(ModelError, match="temperature 1 only"):
        made[1].score([[1, 2]], temperature=0.5)
    with pytest.raises(ModelError, match="at most 255 tokens"):
        made[1].score([[1] * 256])


def without(places: list[list[Any]], name: str) -> list[list[Any]]:
    return [place for place in places if place[0] != name]


def test_faults_of_a_running_vllm(tiny: Tiny) -> None:
    """A sync that misses something, silence, and death."""
    policy = Policy(random_model("qwen2", len(tiny[1])), tiny[1])
    settings = config().model_copy(update={"engine": VllmConfig(cache_gib=0.1, silence_s=20.0)})
    engine = make_engine(settings, policy, 4)
    (child,) = engine._server._children  # type: ignore[attr-defined]
    try:
        mirror = engine._mirror  # type: ignore[attr-defined]
        places = mirror.places()
        wrong = [[*place[:4], place[4] + (place[0] == "model.norm.weight")] for place in places]
        for sent, told in (
            (without(places, "lm_head.weight"), r"example lm_head\.weight"),  # tied, and yet another tensor in vLLM
            (wrong, r"checksum of model\.norm\.weight differs"),
            (without(places, "model.layers.1.mlp.up_proj.weight"), "a part of model.layers.1.mlp.gate_up_proj"),
        ):
            mirror.places = lambda sent=sent: sent
            with pytest.raises(ModelError, match=f"did not take over the weights.*{told}.*--resume"):
                policy.hand_to(engine)
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(EndpointError, match=r"has not answered for 20 s.*--resume"):
            engine.generate([ask(1, [1, 2, 3])])
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(EndpointError, match=r"vLLM died .*its log is .*--resume"):
            engine.forget()
    finally:
        engine.close()
    assert not psutil.pid_exists(child.pid)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"options": {"no_such_option": 1}}, "does not start.*no_such_option.*engine.options"),
        ({"start_timeout_s": 3.0}, "does not start.*not ready within 3 s.*start_timeout_s"),
        # Heads of 8 dimensions are nothing that vLLM can attend with on a CPU.
        ({"cache_gib": 0.1}, "cannot run this model.*head_dim=8.*engine.name=local"),
    ],
)
def test_a_vllm_that_does_not_start(tiny: Tiny, settings: dict[str, Any], told: str) -> None:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    with pytest.raises(ModelError, match=told):
        make_engine(config().model_copy(update={"engine": VllmConfig(**settings)}), Policy(*tiny), 4)
    _, left = psutil.wait_procs(
        [one for one in psutil.Process().children(recursive=True) if one.pid not in before and is_vllm(one)], 20
    )
    assert not left


def is_vllm(process: Any) -> bool:
    """Not a helper of Python, such as the tracker of shared memory."""
    return "tracker" not in " ".join(process.cmdline())


def test_training_through_it_learns(tmp_path: Path) -> None:
    iterations, lr, phases = CASES["himac"]
    model = make_imitator("hierarchical", tmp_path, heads=2)
    settings = toy_config("himac", iterations=iterations, learner=LEARNER | {"lr": lr, "correction": "token"})
    records = learn(settings.model_copy(update={"engine": VllmConfig(cache_gib=0.1)}), model, tmp_path / "run")
    for phase in phases:
        own = [record for record in records if record["phase"] == phase]
        assert objection([record["success"] for record in own]) is None
        assert all(record["logprob_gap_max"] < ROUNDING for record in own)
        # Sampler and trainer agree up to rounding, so the correction is none.
        assert all(abs(record["correction_mean"] - 1.0) < ROUNDING for record in own)


def test_a_run_that_is_killed_or_in_which_it_dies_is_continued(tmp_path: Path) -> None:
    tree = TINY | {"engine": {"name": "vllm", "cache_gib": 0.1}}
    tree["train"] = TINY["train"] | {"iterations": 40}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    init_model(
        tmp_path / "model",
        ["go to drawer 1", "> open box 2"] * 9,
        vocab_size=400,
        hidden_size=64,
        layers=1,
        heads=2,
        kv_heads=1,
    )

    def train(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "himac", "train", "run.yaml", "--run-dir", "run", "--model", "model", *more]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    metrics = tmp_path / "run" / "metrics.jsonl"

    def under_way(running: subprocess.Popen[str], lines: int) -> list[Any]:
        """The processes of vLLM, when so many lines have come."""
        while running.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) >= lines):
            time.sleep(0.1)
        return [one for one in psutil.Process(running.pid).children(recursive=True) if is_vllm(one)]

    killed = train()
    left_over = under_way(killed, 3)
    assert len(left_over) >= 2
    killed.kill()
    assert not psutil.wait_procs(left_over, 60)[1]  # vLLM ends with the learner, however that ended

    running = train("--resume")
    under_way(running, 6)
    (core,) = [one for one in psutil.Process(running.pid).children() if is_vllm(one)]
    core.kill()
    _, said = running.communicate(timeout=120)
    assert running.returncode == EndpointError.exit_code, said
    assert "vLLM died" in said.strip().splitlines()[-1]
    assert "Traceback" not in said
    saved = metrics.read_text().splitlines()

    resumed = train("--resume", f"train.iterations={len(saved)}")
    _, said = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert metrics.read_text().splitlines()[:5] == saved[:5]
