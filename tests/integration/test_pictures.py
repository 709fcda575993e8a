"""Visual Sokoban from nothing to a report: model, warm start, an iteration, evaluation, interruption and resumption."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from himac.cli.report import write_report
from himac.cli.stages import make_model, warm_model
from himac.cli.train import run_training
from himac.config import Config
from himac.config_file import load_config
from himac.evaluation.evaluate import evaluate
from himac.evaluation.records import write_results
from himac.rollout.runtime import build_benchmark, build_runtime
from himac.types import Episode

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "sokoban"
SMALL = [
    "threads=1",
    "init={vocab_size: 400, hidden_size: 48, layers: 2, heads: 3, kv_heads: 3, max_position: 1024}",
    "init.tokenizer_games=20",
    "init.vision={patch_size: 8, merge_size: 1, hidden_size: 32, layers: 1, heads: 2, intermediate: 64}",
    "env.kwargs.image_size=[48, 48]",
    "env.kwargs.noise=0.0",
    "env.step_limit=5",
    "agent.executor.step_limit=4",
    "agent.planner.max_tokens=48",
    "algo={name: himac, tasks: 2, num_blueprints: 2, num_rollouts: 2}",
    "warmstart={games: 30, passes: 5, batch_tokens: 1200, lr: 0.02, context_weight: 0.0}",
    "warmstart.formats=[hierarchical, captions]",
    "train.iterations=2",
    "train.checkpoint_every=1",
    "train.checkpoint_phases=true",
    "train.eval_every=1",
    "train.eval_tasks=3",
    "train.learner.lr=1e-3",
    "train.learner.schedule=constant",
    "train.learner.mini_batches=1",
]


def configuration(*overrides: str) -> Config:
    return load_config(CONFIGS / "tiny-vl.yaml", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models")
    config = configuration()
    benchmark = build_benchmark(config)
    make_model(config, benchmark, folder / "init")
    report = warm_model(config, benchmark, str(folder / "init"), folder / "warm")
    assert report["loss_last"] < report["loss_first"] / 2
    return str(folder / "warm")


@pytest.fixture(scope="module")
def run(warm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two iterations without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_training(configuration(f"model.path={warm}"), folder, resume=False)
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_iteration_trains_on_what_was_sampled(run: Path) -> None:
    phases = [record for record in records(run) if record["kind"] == "train"]
    assert [record["phase"] for record in phases] == ["macro", "micro"] * 2
    assert sum(record["trained_tokens"] for record in phases) > 0
    assert phases[-1]["env_steps"] > 0
    for record in phases:  # the trainer scores the sampler's tokens as the sampler did, pictures included
        assert record.get("logprob_gap_max", 0.0) < 1e-3


def test_a_resumed_run_is_the_same_run(run: Path, warm: str, tmp_path: Path) -> None:
    whole, cut = configuration(f"model.path={warm}"), configuration(f"model.path={warm}", "train.iterations=1")
    run_training(cut, tmp_path / "cut", resume=False)
    run_training(whole, tmp_path / "cut", resume=True)
    assert records(tmp_path / "cut") == records(run)


def test_transcripts_hold_hashes_and_the_report_shows_files(run: Path) -> None:
    results = sorted(run.rglob("results.jsonl"))[-1]
    assert len(results.read_text()) < 20_000
    for line in results.read_text().splitlines():
        record = json.loads(line)
        assert re.fullmatch(r"\[picture [0-9a-f]{64}\]", record["opening"])
        for turn in record["transcript"]:
            assert turn["action"] is None or re.fullmatch(r"\[picture [0-9a-f]{64}\]", turn["observation"])
    write_report(run)
    page = (run / "summary.md").read_text()
    links = re.findall(r"!\[picture [0-9a-f]{12}\]\(([^)]+)\)", page)
    assert links
    for link in links:
        with Image.open(run / link) as image:
            assert image.size == (48, 48)


def test_demonstrations_are_spelled_as_episodes_are(warm: str) -> None:
    """The rows of a demonstration are those of an episode in which the policy replies the same."""
    config = configuration(f"model.path={warm}")
    with build_runtime(config) as runtime:
        task = runtime.benchmark.tasks("valid")[3]
        (episode,) = evaluate(runtime, [task], blueprints="random")
        prompt = episode.segments[0]
        end = prompt.turns[0].start
        agent: Any = runtime.agent
        demo = runtime.benchmark.demonstrate(task, np.random.default_rng(0))  # type: ignore[arg-type]
        first = agent.executor_prompt(prompt.subgoal, demo.segments[0].start, demo.instruction)
    assert prompt.token_ids[:end].tolist() == first
    assert prompt.pictures[0] == first.pictures[0]
    assert prompt.pictures[0].picture is first.pictures[0].picture


def test_a_flat_agent_sees_pictures_too(warm: str, tmp_path: Path) -> None:
    config = configuration(f"model.path={warm}", "agent.name=flat", "algo={name: grpo, tasks: 2, group_size: 2}")
    with build_runtime(config) as runtime:
        episodes: list[Episode] = evaluate(runtime, runtime.benchmark.tasks("valid")[:2])
        write_results(tmp_path / "results.jsonl", episodes, "h")
        for episode in episodes:
            (segment,) = episode.segments
            assert len(segment.pictures) == len(segment.turns)  # one to open with, none after the last action
            (score,) = runtime.engine.score([segment.token_ids.tolist()], pictures=[segment.pictures])
            drawn = torch.from_numpy(segment.sampled)
            assert torch.allclose(torch.from_numpy(segment.logprobs)[drawn], torch.from_numpy(score)[drawn], atol=1e-4)
    assert list((tmp_path / "pictures").glob("*.png"))


def test_environment_workers_send_the_same_pictures(warm: str) -> None:
    alone, pair = configuration(f"model.path={warm}"), configuration(f"model.path={warm}", "env.workers=1")
    found = []
    for config in (alone, pair):
        with build_runtime(config) as runtime:
            found.append(evaluate(runtime, runtime.benchmark.tasks("valid")[:2]))
    for one, other in zip(*found, strict=True):
        assert one.ret == other.ret
        assert [s.token_ids.tolist() for s in one.segments] == [s.token_ids.tolist() for s in other.segments]
        assert [s.pictures for s in one.segments] == [s.pictures for s in other.segments]
