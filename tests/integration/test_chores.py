"""Lists of chores are trained on like any other benchmark: from demonstrations of a mixture and by every method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from himac.cli.stages import make_model
from himac.config_file import load_config
from himac.envs.alfworld.generator import generate_games, write_games
from himac.rollout.runtime import build_benchmark, build_runtime
from himac.training.factory import make_learner
from himac.training.trainer import Trainer
from himac.training.warmstart import warmstart
from support.learning import AGENTS, ALGORITHMS


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    for number, split in enumerate(("train", "valid")):
        write_games(folder / f"{split}.jsonl.xz", generate_games(6, "small", number, split))
    return folder


@pytest.fixture(scope="module")
def wide_model(rooms: Path, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with room for two chores in one context."""
    config = load_config(
        tiny_yaml, ["init.max_position=1024", "env.name=chores", f"env.kwargs={json.dumps({'data': str(rooms)})}"]
    )
    folder = tmp_path_factory.mktemp("models") / "wide"
    make_model(config, build_benchmark(config), folder)
    return folder


@pytest.mark.parametrize("algorithm", ["himac", "grpo", "gigpo", "hiper"])
def test_one_iteration(algorithm: str, rooms: Path, tiny_yaml: Path, wide_model: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    name = AGENTS[algorithm]
    kwargs = {"chores": [1, 2], "data": str(rooms)}
    overrides = [
        *("env.name=chores", f"env.kwargs={json.dumps(kwargs)}", "env.step_limit=40", "agent.max_context=1024"),
        *(f"algo={json.dumps(ALGORITHMS[algorithm] | {'tasks': 2})}", f"agent.name={name}", "train.iterations=1"),
        *(
            "agent.planner.max_subgoals=8",
            "warmstart.passes=1",
            f"warmstart.formats=[{name}]",
            "agent.flat.max_tokens=40",
        ),
    ]
    config = load_config(tiny_yaml, overrides)
    with build_runtime(config, str(wide_model)) as runtime:
        report = warmstart(runtime)
        assert (report.demonstrations, report.demonstrated_success) == (12, 1.0)  # six rooms, lists of one and of two
        progress = Trainer(config, runtime, make_learner(runtime.policy, config), tmp_path / "run").run()
    assert progress.iteration == 1
    assert progress.tokens > 0
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open(encoding="utf-8")]
    last = records[-1]
    assert last["kind"] == "eval"
    assert {"success/chores-1", "success/chores-2", "score"} <= last.keys()
    assert 100 * last["success"] <= last["score"] <= 100
