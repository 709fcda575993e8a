"""Rollout in several processes gives what one process gives, and a lost process is an error rather than a hang."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from himac.errors import ConfigError, TrainingError
from himac.models.loading import load_model
from himac.models.policy import Policy
from himac.rollout.collect import Usage
from himac.rollout.episode import flat_episode
from himac.rollout.parallel import ParallelCollector, _Share, _Worker
from himac.rollout.runtime import Runtime, assemble, build_runtime
from himac.types import Episode
from support.learning import make_toy_model, toy_config
from support.toy import ColourBenchmark, ScriptedEngine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def parallel(model: Path) -> Iterator[Runtime]:
    with build_runtime(toy_config("grpo"), str(model), 8, ColourBenchmark(), workers=2) as runtime:
        yield runtime


def roll(runtime: Runtime, seen: list[Any] | None = None) -> list[Episode]:
    tasks = runtime.benchmark.tasks("valid")
    programs = [flat_episode(runtime.spec, runtime.agent, task, 1.0, seed, 0) for task in tasks for seed in range(2)]
    return runtime.collector.run(programs, None if seen is None else seen.append)


def as_text(episodes: list[Episode]) -> list[Any]:
    return [(e.task.id, e.seed, [t.action for t in e.turns], e.segments[0].token_ids.tolist()) for e in episodes]


def test_two_processes_give_what_one_gives(model: Path, parallel: Runtime) -> None:
    with build_runtime(toy_config("grpo"), str(model), 8, ColourBenchmark()) as single:
        alone = roll(single)
        steps = single.collector.usage.env_steps
    before, seen = parallel.collector.usage.env_steps, list[Any]()
    together = roll(parallel, seen)
    assert as_text(together) == as_text(alone)
    assert parallel.collector.usage.env_steps - before == steps
    assert len(seen) == len(together)


def test_workers_see_new_weights_at_once_and_their_version(parallel: Runtime) -> None:
    before = as_text(roll(parallel))
    parallel.policy.version += 4
    with torch.no_grad():
        for parameter in parallel.policy.model.parameters():
            parameter.mul_(-1.5)
    parallel.policy.hand_to(parallel.engine)
    rolled = roll(parallel)
    assert {segment.policy_version for episode in rolled for segment in episode.segments} == {5}
    after = as_text(rolled)
    # Both halves of the tasks change: the other process holds the same memory.
    changed = [old != new for old, new in zip(before, after, strict=True)]
    assert sum(changed) > 0.8 * len(changed)


def test_a_program_that_fails_elsewhere_fails_here_and_for_good(model: Path) -> None:
    """What the worker still had to send would be taken for results of the next run."""
    with build_runtime(toy_config("grpo"), str(model), 8, ColourBenchmark(), workers=2) as runtime:
        tasks = runtime.benchmark.tasks("valid")
        good = flat_episode(runtime.spec, runtime.agent, tasks[0], 1.0, 0, 0)
        broken = flat_episode(runtime.spec, runtime.agent, tasks[1], "hot", 0, 0)  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match="rollout worker failed"):
            runtime.collector.run([good, broken])
        with pytest.raises(TrainingError, match="the rollout failed before"):
            runtime.collector.run([good])


def test_results_are_told_one_at_a_time(parallel: Runtime) -> None:
    class There:
        def submit(self, share: Any, take: Any) -> Any:
            thread = threading.Thread(target=lambda: [take(place, "theirs") for place in share.places])
            thread.start()
            return lambda: thread.join() or Usage()

    class Here:
        usage, engine = Usage(), ScriptedEngine(lambda prompt, request: "")

        def run(self, programs: Any, told: Any) -> list[str]:
            for _ in programs:
                told("ours")
            return ["ours"] * len(programs)

    inside, most = 0, 0

    def slow(result: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.005)
        inside -= 1

    collector = ParallelCollector(Here(), 2, There)  # type: ignore[arg-type]
    tasks = parallel.benchmark.tasks("valid")
    done = collector.run([flat_episode(parallel.spec, parallel.agent, task, 1.0, 0, 0) for task in tasks], slow)
    assert set(done) == {"ours", "theirs"}
    assert most == 1


def test_an_error_while_results_are_taken_is_reported() -> None:
    class Answering:
        def send(self, share: Any) -> None: ...

        def recv(self) -> Any:
            return "result", 0, "an episode"

    def take(place: int, result: Any) -> None:
        raise ValueError("no room for it")

    finish = _Worker(None, Answering()).submit(_Share(1, [0], []), take)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="no room for it"):
        finish()


def test_workers_are_for_cpus(model: Path) -> None:
    class OnGpu:
        config = type("C", (), {"max_position_embeddings": 256})()
        device = torch.device("meta")

    _, tokenizer = load_model(str(model))
    with pytest.raises(ConfigError, match=r"rollout_workers above 1 is for models on a CPU"):
        assemble(toy_config("grpo"), ColourBenchmark(), Policy(OnGpu(), tokenizer), 8, workers=2)


def test_a_lost_process_is_an_error(parallel: Runtime) -> None:
    (worker,) = parallel.collector._workers  # type: ignore[attr-defined]
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"rollout worker is gone .*--resume"):
        roll(parallel)  # the last test that can use this fixture
