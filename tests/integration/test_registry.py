"""Every algorithm runs on every kind of benchmark."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from himac.config import Config
from himac.config_file import load_config
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


@dataclass(frozen=True)
class Variant:
    """An algorithm with settings of its own, of the executor and of the learner, and the phases they give."""

    algorithm: str
    settings: dict[str, Any] = field(default_factory=dict)
    executor: dict[str, Any] = field(default_factory=dict)
    learner: dict[str, Any] = field(default_factory=dict)
    phases: tuple[str, ...] = ("flat",)


BOTH = ("macro", "micro")
DGPO = {"credit": "dgpo", "credit_temperature": 0.02, "kl_coef": 0.0}
VARIANTS = {
    "random blueprint": Variant("himac", {"blueprint_selection": "random"}, phases=BOTH),
    "without co-evolution": Variant("himac", {"co_evolution": False}, phases=("joint",)),
    "without sub_done": Variant("himac", executor={"sub_done": False, "step_limit": 1}, phases=BOTH),
    "without a hierarchy": Variant("himac", {"hierarchy": False}),
    "step advantages in phase B": Variant("himac", {"step_weight": 1.0}, phases=BOTH),
    "blueprint groups replaced": Variant("himac", {"resample": 2, "tasks": 4, "plans": 2}, phases=BOTH),
    "joint, groups replaced": Variant(
        "himac", {"resample": 1, "tasks": 4, "plans": 2, "co_evolution": False}, phases=("joint",)
    ),
    "blueprints scored by sampling": Variant("himac", {"score_executions": 2}, phases=BOTH),
    "token credit in both phases": Variant("himac", learner=DGPO, phases=BOTH),
    "flat groups replaced": Variant("grpo", {"resample": 2, "tasks": 4, "samples": 2}),
    "flat token credit": Variant("grpo", learner=DGPO),
    "GiGPO without std": Variant("gigpo", {"std": "none", "step_std": "none"}),
    "GiGPO over rows and similar states": Variant("gigpo", {"statistics": "rows", "similarity": 0.9}),
    "GiGPO with token credit": Variant("gigpo", learner=DGPO),
    "HiPER with two value heads": Variant("hiper", {"heads": 2, "keep_penalty_mode": "fixed"}),
    "clip-higher and dual clip on sequence ratios": Variant(
        "rloo",
        learner={"clip_high": 0.28, "dual_clip": 3.0, "ratio": "sequence", "aggregation": "seq-mean-token-mean"},
    ),
    "PPO with value clipping": Variant("ppo", {"reward_kl": 0.01}, learner={"value_clip": 0.2, "epochs": 2}),
}


def test_the_product_is_complete() -> None:
    """A new algorithm must join these tests, the configuration and the factory."""
    union = Config.model_fields["algo"].annotation
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
    config = load_config(tiny_yaml, overrides)
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
    return {AGENTS[name]: make_imitator(name, folder / name) for name in ("himac", "grpo", "hiper")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_switch_trains(variant: str, imitators: dict[str, Path], tmp_path: Path) -> None:
    one = VARIANTS[variant]
    config = toy_config(one.algorithm, settings=one.settings, executor=one.executor, iterations=2, learner=one.learner)
    records = learn(config, imitators[config.agent.name], tmp_path / "run", imitate=False)
    trained = [record for record in records if record["kind"] == "train"]
    assert [record["phase"] for record in trained] == [*one.phases] * 2
    for phase in one.phases:
        assert any(r["grad_norm"] > 0 and r["return_spread"] > 0 for r in trained if r["phase"] == phase), phase
    assert all(record["env_errors"] == 0 for record in trained)
    assert (sum(record["resampled"] for record in trained) > 0) == ("resample" in one.settings)
    if "sub_done" in one.executor:  # every sub-goal gets its one step, so that no budget runs out
        assert not any("stop/subgoal_budget" in record for record in trained)
        assert all(record["steps_mean"] <= 4 for record in trained)
