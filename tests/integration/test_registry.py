"""Every algorithm runs on every kind of benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import himac.config as configuration
from himac.rollout.runtime import build_runtime
from himac.train.factory import ALGORITHMS as KNOWN
from himac.train.factory import make_learner
from himac.train.trainer import Trainer
from support.learning import AGENTS, ALGORITHMS, learn, make_imitator, make_toy_model, toy_config

PHASES = {
    "himac": ["macro", "micro"],
    "grpo": ["flat"],
    "rloo": ["flat"],
    "gigpo": ["flat"],
    "ppo": ["flat"],
    "hiper": ["flat"],
}
# Single switches: the algorithm with its settings, those of the executor, and the phases they give.
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
    "random blueprint": ("himac", {"blueprint_selection": "random"}, {}, ["macro", "micro"]),
    "without co-evolution": ("himac", {"co_evolution": False}, {}, ["joint"]),
    "without sub_done": ("himac", {}, {"sub_done": False, "step_limit": 1}, ["macro", "micro"]),
    "step advantages in phase B": ("himac", {"step_weight": 1.0}, {}, ["macro", "micro"]),
    "blueprint groups replaced": ("himac", {"resample": 2, "tasks": 4, "plans": 2}, {}, ["macro", "micro"]),
    "joint, groups replaced": ("himac", {"resample": 1, "tasks": 4, "plans": 2, "co_evolution": False}, {}, ["joint"]),
    "blueprints scored by sampling": ("himac", {"score_executions": 2}, {}, ["macro", "micro"]),
    "without a hierarchy": ("grpo", {}, {}, ["flat"]),
    "flat groups replaced": ("grpo", {"resample": 2, "tasks": 4, "samples": 2}, {}, ["flat"]),
    "GiGPO without std": ("gigpo", {"std": "none", "step_std": "none"}, {}, ["flat"]),
    "GiGPO over rows and similar states": ("gigpo", {"statistics": "rows", "similarity": 0.9}, {}, ["flat"]),
}


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


@pytest.fixture(scope="module")
def imitators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that sometimes succeeds, for each kind of agent."""
    folder = tmp_path_factory.mktemp("imitators")
    return {AGENTS[name]: make_imitator(name, folder / name) for name in ("himac", "grpo")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_switch_trains(variant: str, imitators: dict[str, Path], tmp_path: Path) -> None:
    algorithm, settings, executor, phases = VARIANTS[variant]
    config = toy_config(algorithm, settings=settings, executor=executor, iterations=2)
    records = learn(config, imitators[AGENTS[algorithm]], tmp_path / "run", imitate=False)
    trained = [record for record in records if record["kind"] == "train"]
    assert [record["phase"] for record in trained] == phases * 2
    for phase in phases:
        assert any(r["grad_norm"] > 0 and r["return_spread"] > 0 for r in trained if r["phase"] == phase), phase
    assert all(record["env_errors"] == 0 for record in trained)
    assert (sum(record["resampled"] for record in trained) > 0) == ("resample" in settings)
    if "sub_done" in executor:  # every sub-goal gets its one step, so that no budget runs out
        assert not any("stop/subgoal_budget" in record for record in trained)
        assert all(record["steps_mean"] <= 4 for record in trained)
