"""Every algorithm runs on every kind of benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import himac.config as configuration
from himac.rollout.runtime import build_runtime
from himac.train.factory import ALGORITHMS as KNOWN
from himac.train.factory import make_learner
from himac.train.trainer import Trainer
from support.learning import AGENTS, ALGORITHMS, learn, make_toy_model, toy_config

PHASES = {"himac": ["macro", "micro"], "grpo": ["flat"]}


def test_the_product_is_complete() -> None:
    """A new algorithm must join these tests, the configuration and the factory."""
    union = configuration.Config.model_fields["algo"].annotation
    named = {part.model_fields["name"].default for part in union.__args__}  # type: ignore[union-attr]
    assert set(KNOWN) == set(PHASES) == set(ALGORITHMS) == named


@pytest.mark.parametrize("algorithm", sorted(KNOWN))
def test_one_iteration_on_the_toy(algorithm: str, tmp_path: Path) -> None:
    model = make_toy_model(tmp_path / "model")
    records = learn(toy_config(algorithm, iterations=1, eval_every=1), model, tmp_path / "run", imitate=False)
    assert [record["phase"] for record in records] == ["eval", *PHASES[algorithm], "eval"]
    assert (tmp_path / "run" / "checkpoints" / "latest").exists()


@pytest.mark.parametrize("algorithm", sorted(KNOWN))
def test_one_iteration_on_alfworld(algorithm: str, tiny_yaml: Path, tiny_model: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    algo = json.dumps(ALGORITHMS[algorithm] | {"tasks": 2})
    overrides = [f"algo={algo}", f"agent.name={AGENTS[algorithm]}", "train.iterations=1", "env.workers=1"]
    config = configuration.load_config(tiny_yaml, overrides)
    with build_runtime(config, str(tiny_model)) as runtime:
        progress = Trainer(config, runtime, make_learner(runtime.model, config), tmp_path / "run").run()
    assert progress.iteration == 1
    assert progress.env_steps > 0
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open(encoding="utf-8")]
    assert [record["phase"] for record in records] == ["eval", *PHASES[algorithm], "eval"]
