"""A tiny model that has seen a few demonstrations, made once and shared by the tests of this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cli import Cli

TINY: dict[str, Any] = {
    "seed": 3,
    "threads": 1,
    "init": {
        "vocab_size": 512,
        "hidden_size": 32,
        "layers": 2,
        "heads": 2,
        "kv_heads": 1,
        "max_position": 512,
        "tokenizer_games": 8,
    },
    "env": {"name": "alfworld", "kwargs": {"data": "builtin:small"}, "step_limit": 8},
    "agent": {
        "max_context": 512,
        "planner": {"max_subgoals": 5, "max_tokens": 96},
        "executor": {"step_limit": 6, "max_tokens": 20},
    },
    "algo": {"name": "himac", "tasks": 2, "num_blueprints": 3, "num_rollouts": 3},
    "warmstart": {"games": 20, "passes": 10, "batch_tokens": 1200, "lr": 0.02, "formats": ["hierarchical", "flat"]},
    "train": {
        "iterations": 3,
        "checkpoint_every": 1,
        "checkpoint_phases": True,
        "eval_every": 2,
        "eval_tasks": 4,
        "learner": {"lr": 1e-3, "mini_batches": 2},
    },
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Before the fork server of the command line starts."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    folder = tmp_path / "cwd"
    folder.mkdir()
    return Cli(folder)


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that starts without a model."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_model(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model directory after a short warm start in both formats."""
    folder = tmp_path_factory.mktemp("models")
    cli = Cli(folder)
    for args in (("init-model", tiny_yaml, "init"), ("warmstart", tiny_yaml, "warm", "--model", "init")):
        done = cli.run(*args)
        assert done.code == 0, done.err
    return folder / "warm"
