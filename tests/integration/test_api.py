"""himac from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import himac
from himac.config_file import load_config
from himac.errors import EnvironmentFailureError
from himac.evaluation.evaluate import evaluate
from himac.rollout.runtime import build_runtime

ONE = ["train.iterations=1", "train.eval_every=0", "algo.tasks=1"]


@pytest.mark.parametrize("agent", ["hierarchical", "flat"])
def test_the_caller_s_steps_are_those_of_an_evaluation(agent: str, tiny_yaml: Path, tiny_model: Path) -> None:
    overrides = [f"agent.name={agent}", "env.step_limit=8"]
    with build_runtime(load_config(tiny_yaml, overrides), str(tiny_model)) as runtime:
        tasks = runtime.benchmark.tasks("valid")[:6]
        expected = evaluate(runtime, tasks)
        env = runtime.benchmark.make_env()
    with himac.load(tiny_yaml, tiny_model, overrides) as player:
        for task, episode in zip(tasks, expected, strict=True):
            observation, info = env.reset(options=dict(task.options))
            action = player.start(info["instruction"], observation, info)
            while action is not None:
                action = player.act(*env.step(action))
            assert player.episode is not None
            assert [turn.action for turn in player.turns] == [turn.action for turn in episode.turns]
            assert (player.episode.stop, player.episode.ret) == (episode.stop, episode.ret)
            assert player.blueprint == episode.blueprint
    assert any(episode.env_steps > 1 for episode in expected)
    figures = himac.evaluate(tiny_yaml, tiny_model, overrides, limit=6, temperature=0.0)
    assert figures["steps_mean"] == sum(episode.env_steps for episode in expected) / 6


def test_a_run_is_trained_and_loaded(tiny_yaml: Path, tiny_model: Path, tmp_path: Path) -> None:
    run = himac.train(tiny_yaml, [*ONE, f"model.path={tiny_model}"], run_dir=tmp_path / "run")
    assert (run / "metrics.jsonl").is_file()
    with himac.load(f"{run}@1") as player:
        with pytest.raises(RuntimeError, match="call start first"):
            player.act("a room")
        with pytest.raises(EnvironmentFailureError):
            player.start("look", 3)
        player.start("look around", "a room")
        player.stop()
        assert player.blueprint is None


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    code = "import himac, sys; himac.__version__; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        himac.trian  # noqa: B018
