"""Every algorithm runs on every kind of benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from himac.cli.stages import make_model, warm_model
from himac.config import ALGORITHMS as KNOWN
from himac.config_file import load_config
from himac.envs.registry import BENCHMARKS as KNOWN_BENCHMARKS
from himac.rollout.runtime import build_benchmark, build_runtime
from himac.training.factory import make_learner
from himac.training.trainer import Trainer
from himac.types import Task
from support.learning import AGENTS, ALGORITHMS, learn, make_imitator, make_toy_model, toy_config
from support.toy import ColourBenchmark

PHASES = {
    "himac": ["macro", "micro"],
    "himac-plus": ["nested"],
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

    @property
    def replaces(self) -> bool:
        """Whether groups with equal returns are replaced."""
        return "resample" in self.settings


class HalfHopeless(ColourBenchmark):
    """Every other task wants a colour that cannot be said, so that all its episodes fail alike.

    6 of 12 tasks are such, and a training task comes up once an epoch: of the 8 tasks of the first iteration at least
    2 must be replaced, and at least 2 cannot be.
    """

    def tasks(self, split: str) -> list[Task]:
        hopeless = {"colours": ["grey", "grey"]}
        return [replace(t, options=hopeless) if n % 2 else t for n, t in enumerate(super().tasks(split))]


BOTH = ("macro", "micro")
DGPO = {"credit": "dgpo", "credit_temperature": 0.02, "kl_coef": 0.0}
VARIANTS = {
    "random blueprint": Variant("himac", {"blueprint_selection": "random"}, phases=BOTH),
    "without co-evolution": Variant("himac", {"co_evolution": False}, phases=("joint",)),
    "without sub_done": Variant("himac", executor={"sub_done": False, "step_limit": 1}, phases=BOTH),
    "without a hierarchy": Variant("himac", {"hierarchy": False}),
    "step advantages in phase B": Variant("himac", {"step_weight": 1.0}, phases=BOTH),
    "blueprint groups replaced": Variant("himac", {"resample": 2, "tasks": 8}, phases=BOTH),
    "joint, groups replaced": Variant("himac", {"resample": 1, "tasks": 8, "co_evolution": False}, phases=("joint",)),
    "blueprints scored by sampling": Variant("himac", {"score_executions": 2}, phases=BOTH),
    "the most learnable blueprint": Variant(
        "himac",
        {"score_executions": 2, "blueprint_selection": "learnability", "resample_executions": 2},
        phases=BOTH,
    ),
    "nested, with branches": Variant("himac-plus", {"branches": 2}, phases=("nested",)),
    "token credit in both phases": Variant("himac", learner=DGPO, phases=BOTH),
    "nested, roles apart within a target": Variant(
        "himac-plus",
        {"plan_every": 2, "resample": 1, "tasks": 8},
        learner={"apart": True, "epochs": 2, "target_kl": 0.02, "roles": {"planner": {"lr_scale": 0.5, "epochs": 1}}},
        phases=("nested",),
    ),
    "flat groups replaced": Variant("grpo", {"resample": 2, "tasks": 8}),
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
    """A new algorithm must join these tests and the configuration; a new benchmark these tests."""
    assert set(KNOWN.builtin) == set(PHASES) == set(ALGORITHMS)
    assert set(KNOWN_BENCHMARKS.builtin) == {
        "alfworld",
        "babyai",
        "chores",
        *BENCHMARKS,
    }


@pytest.mark.parametrize("algorithm", sorted(KNOWN.builtin))
def test_one_iteration_on_the_toy(algorithm: str, tmp_path: Path) -> None:
    model = make_toy_model(tmp_path / "model")
    records = learn(toy_config(algorithm, iterations=1, eval_every=1), model, tmp_path / "run")
    assert [record["phase"] for record in records] == ["eval", *PHASES[algorithm], "eval"]
    assert (tmp_path / "run" / "checkpoints" / "latest").exists()


SHAPE = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "vocab_size": 600, "tokenizer_games": 8}
# The environment and the demonstrations after which a third of the sampled blueprints are well-formed.
BENCHMARKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sokoban": (
        {"name": "sokoban", "kwargs": {"data": "builtin:short"}, "step_limit": 4},
        {"games": 16, "passes": 12},
    ),
    "webshop": (
        {"name": "webshop", "kwargs": {"data": "builtin", "view": "compact"}, "eval_split": "eval", "step_limit": 4},
        {"games": 8, "passes": 6},
    ),
}
FORMATS = ["hierarchical", "flat", "hiper"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """The configuration of a benchmark and a model that has seen a few of its demonstrations, made when asked for."""

    @cache
    def make(benchmark: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(benchmark)
        env, shown = BENCHMARKS[benchmark]
        settings = {
            "seed": 3,
            "threads": 1,
            "env": env,
            "init": SHAPE | {"max_position": 1024},
            "agent": {
                "max_context": 1024,
                "planner": {"max_subgoals": 6, "max_tokens": 144},
                "executor": {"step_limit": 3, "max_tokens": 49},
                "flat": {"max_tokens": 49, "thoughts": False},
                "hiper": {"max_tokens": 96},
            },
            "warmstart": {"batch_tokens": 1200, "lr": 0.02, "formats": FORMATS} | shown,
            "train": {"iterations": 1, "eval_every": 1, "eval_tasks": 2, "learner": {"lr": 1e-3}},
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        config = load_config(folder / "run.yaml", [])
        content = build_benchmark(config)
        make_model(config, content, folder / "untrained")
        warm_model(config, content, str(folder / "untrained"), folder / "warm")
        return folder / "run.yaml", folder / "warm"

    return make


def one_iteration(algorithm: str, configuration: Path, model: Path, run_dir: Path, *changes: str) -> None:
    torch.set_num_threads(1)
    algo = json.dumps(ALGORITHMS[algorithm] | {"tasks": 2})
    overrides = [f"algo={algo}", f"agent.name={AGENTS[algorithm]}", "train.iterations=1", *changes]
    config = load_config(configuration, overrides)
    with build_runtime(config, str(model)) as runtime:
        progress = Trainer(config, runtime, make_learner(runtime.policy, config), run_dir).run()
        # A version for each update: one a phase.
        assert runtime.engine.version == runtime.policy.version == 1 + len(PHASES[algorithm])
    assert progress.iteration == 1
    assert progress.env_steps > 0
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").open(encoding="utf-8")]
    assert [record["phase"] for record in records] == ["eval", *PHASES[algorithm], "eval"]
    assert records[1]["trained_tokens"] > 0
    assert all(record["env_errors"] == 0 for record in records[1:-1])


@pytest.mark.parametrize("algorithm", sorted(KNOWN.builtin))
def test_one_iteration_on_alfworld(algorithm: str, tiny_yaml: Path, tiny_model: Path, tmp_path: Path) -> None:
    one_iteration(algorithm, tiny_yaml, tiny_model, tmp_path / "run", "env.workers=1")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("algorithm", sorted(KNOWN.builtin))
def test_one_iteration_elsewhere(
    algorithm: str, benchmark: str, models: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    # Of 24 blueprints some can be executed.
    changes = ["algo.num_blueprints=12", "algo.num_rollouts=2"] if algorithm == "himac" else []
    one_iteration(algorithm, *models(benchmark), tmp_path / "run", *changes)


@pytest.fixture(scope="module")
def imitator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model that sometimes succeeds, for a kind of agent, made when it is asked for."""
    return cache(lambda agent: make_imitator(agent, tmp_path_factory.mktemp(agent)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_switch_trains(variant: str, imitator: Callable[[str], Path], tmp_path: Path) -> None:
    one = VARIANTS[variant]
    config = toy_config(one.algorithm, settings=one.settings, executor=one.executor, iterations=2, learner=one.learner)
    benchmark = ColourBenchmark()
    if one.replaces:  # without the penalty all failures cost the same
        benchmark = HalfHopeless()
        config = config.model_copy(update={"env": config.env.model_copy(update={"invalid_penalty": 0.0})})
    records = learn(config, imitator(config.agent.name), tmp_path / "run", benchmark)
    trained = [record for record in records if record["kind"] == "train"]
    assert [record["phase"] for record in trained] == [*one.phases] * 2
    for phase in one.phases:
        assert any(r["grad_norm"] > 0 and r["return_spread"] > 0 for r in trained if r["phase"] == phase), phase
    assert all(record["env_errors"] == 0 for record in trained)
    first = trained[0]["resampled"]
    replaced = any(record["resampled"] for record in trained)
    assert first >= 2 if one.replaces else replaced == ("resample_executions" in one.settings)
    if "sub_done" in one.executor:  # every sub-goal gets its one step, so that no budget runs out
        assert not any("stop/subgoal_budget" in record for record in trained)
        assert all(record["steps_mean"] <= 4 for record in trained)
