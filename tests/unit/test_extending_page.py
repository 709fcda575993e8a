"""The examples of docs/extending.md work as they stand."""

from __future__ import annotations

import random
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.base import PhaseContext
from himac.config import ALGORITHMS
from himac.config_file import load_config
from himac.engines.base import GenerateRequest, SamplingParams, make_engine
from himac.engines.local.engine import LocalEngine
from himac.envs.check import check_benchmark
from himac.envs.pool import EnvPool
from himac.models.init_model import init_model
from himac.models.loading import load_model
from himac.models.policy import Policy
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec, Proposal, execute
from himac.training.factory import make_algorithm
from himac.types import StopReason
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
BLOCKS = {
    match[1]: match[0]
    for match in (
        re.match(r"# (\S+)\n.*", block, re.DOTALL)
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    )
    if match
}


def run(name: str, **given: Any) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "example", **given}
    exec(compile(BLOCKS[name], name, "exec", dont_inherit=True), namespace)
    return namespace


def test_the_environment() -> None:
    benchmark = run("buttons.py")["ButtonsBenchmark"]()
    check_benchmark(benchmark, tasks_per_split=9)
    cfg = load_config(None, ["env.step_limit=10"])
    agent = HierarchicalAgent(ByteTokenizer(), benchmark.texts, cfg.agent)
    for task in [task for split in benchmark.splits() for task in benchmark.tasks(split)]:
        demo = benchmark.demonstrate(task, random.Random(0))
        script = iter(f"{turn.action}<sub_done>" for segment in demo.segments for turn in segment.turns)
        engine = ScriptedEngine(lambda prompt, request, script=script: next(script))
        with EnvPool(benchmark.make_env) as pool:
            program = execute(
                EpisodeSpec(benchmark, cfg, 400), agent, task, Proposal.given(demo.blueprint), 1.0, seed=1, env_seed=1
            )
            (episode,) = Collector(engine, pool).run([program])
        assert episode.stop is StopReason.SUCCESS
        assert [turn.observation for turn in episode.turns] == [t.observation for s in demo.segments for t in s.turns]
        assert [segment.subgoal for segment in episode.segments] == list(demo.blueprint)
        assert len(benchmark.random_blueprint(task, random.Random(0))) == 2


def test_the_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "my_package.reinforce", SimpleNamespace(**run("my_package/reinforce.py")))
    named = re.search(r'"himac\.algorithms"\]\n(\w+) = "(.*)"', PAGE.read_text(encoding="utf-8"))
    assert named is not None
    assert named[1] not in ALGORITHMS.builtin, "the example shows something that is not built in"
    points = [EntryPoint(*named.groups(), "himac.algorithms")]
    monkeypatch.setattr("himac.plugins.entry_points", lambda group: points)
    small = ["env.step_limit=6", "agent.max_context=400"]
    cfg = load_config(None, ["algo={name: reinforce, tasks: 2, group_size: 4}", *small])
    assert (cfg.agent.name, cfg.warmstart.formats, cfg.algo.value_heads) == ("flat", ("flat",), 0)

    rng = random.Random(0)
    engine = ScriptedEngine(lambda prompt, request: rng.choice(prompt.split("Task: ")[1].split()[:2]))
    agent = FlatAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
    with EnvPool(ColourBenchmark().make_env) as pool:
        spec = EpisodeSpec(ColourBenchmark(), cfg, 400)
        runtime: Any = SimpleNamespace(spec=spec, agent=agent, collector=Collector(engine, pool))
        ((_, phase),) = make_algorithm(cfg, runtime).phases
        outcome = phase(PhaseContext(0, 1), ColourBenchmark().tasks("train")[:2], None)
    assert [len(group.episodes) for group in outcome.groups] == [4, 4]
    assert len(outcome.rows) == 8
    rets = np.array([episode.ret for group in outcome.groups for episode in group.episodes])
    got = [row.advantages.max() + row.advantages.min() for row in outcome.rows]
    assert rets.std() > 0
    np.testing.assert_allclose(got, (rets - rets.mean()) / rets.std(), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    path = tmp_path_factory.mktemp("models") / "tiny"
    init_model(path, ["press the red button"] * 4, vocab_size=400, hidden_size=32, layers=2, heads=2, kv_heads=1)
    return load_model(path)


def test_the_engine_equals_the_local_one(tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("settings", "plain"):
        monkeypatch.setitem(sys.modules, f"my_package.{name}", SimpleNamespace(**run(f"my_package/{name}.py")))
    named = re.search(r'"himac\.engines"\]\n(\w+) = "(.*)"', PAGE.read_text(encoding="utf-8"))
    assert named is not None
    points = [EntryPoint(*named.groups(), "himac.engines")]
    monkeypatch.setattr("himac.plugins.entry_points", lambda group: points)
    config = load_config(None, ["engine.name=plain", "agent.max_context=64"])
    assert (config.engine.can.exact, config.engine.can.images) == (True, False)
    plain, local = make_engine(config, Policy(*tiny), 4), LocalEngine(*tiny, max_context=64)
    requests = [
        GenerateRequest(n, n, [5 + n, 7, 9], SamplingParams(6, temperature=n / 2, seed=n, stop_token_ids=(4,)))
        for n in range(4)
    ]
    for request in requests:
        plain.submit(request)
    expected = local.generate(requests)
    for got in ([done for _, done in plain.step()], plain.generate(requests)):
        for one, other in zip(got, expected, strict=True):
            assert (one.id, one.token_ids, one.text, one.finished) == (
                *(other.id, other.token_ids),
                *(other.text, other.finished),
            )
            np.testing.assert_allclose(one.logprobs, other.logprobs, rtol=1e-4, atol=1e-5)
    assert plain.step() == []
    sequences = [[3, 4, 5, 6], [9, 8]]
    for one, other in zip(plain.score(sequences, 0.5), local.score(sequences, 0.5), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_every_example_is_run() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("```python") == len(BLOCKS) + 1  # the call of check_benchmark has no file
    assert set(BLOCKS) == {
        "buttons.py",
        "my_package/reinforce.py",
        "my_package/settings.py",
        "my_package/plain.py",
    }
