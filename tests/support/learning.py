"""A tiny model, a short warm start and reinforcement learning on the colour benchmark, all in this process."""

from __future__ import annotations

import json
import os
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from himac.agents.hiper import RULES
from himac.agents.parsing import format_blueprint
from himac.config import Config
from himac.config_file import parse_config
from himac.models.init_model import init_model
from himac.rollout.runtime import Runtime, build_runtime
from himac.training.checkpoint import save_model
from himac.training.factory import make_learner
from himac.training.trainer import Trainer
from himac.training.warmstart import warmstart
from himac.types import Demonstration, DemoSegment, DemoTurn, Task
from support.toy import COLOURS, ColourBenchmark


class CarelessColours(ColourBenchmark):
    """Demonstrations that name a wrong colour now and then, so that imitation leaves something to reinforce.

    Each place of a task (its sub-goals, its actions) has a deck with every wrong colour once. All cards are used before
    any comes again: how often a place is wrong is then certain, and no run of bad luck moves the policy.

    Args:
        goal_cards, action_cards: Cards of a deck; 3 of them are wrong.
    """

    def __init__(self, goal_cards: int, action_cards: int) -> None:
        self.goal_cards, self.action_cards = goal_cards, action_cards
        self.left: dict[tuple[str, str], list[str]] = {}

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        def colour(place: str, right: str, cards: int) -> str:
            left = self.left.setdefault((task.id, place), [])
            if not left:
                left += ["right"] * (cards - 3) + [other for other in COLOURS if other != right]
                rng.shuffle(left)
            card = left.pop()
            return right if card == "right" else card

        goals = [colour(f"goal {n}", right, self.goal_cards) for n, right in enumerate(task.options["colours"])]
        first, second = (colour(f"action {n} of {goal}", goal, self.action_cards) for n, goal in enumerate(goals))
        segments = (
            DemoSegment(f"say {goals[0]}", "start", (DemoTurn(first, f"you said {first}", True),)),
            DemoSegment(f"say {goals[1]}", f"you said {first}", (DemoTurn(second, f"you said {second}"),)),
        )
        return Demonstration(task, " ".join(task.options["colours"]), "start", segments, True)


# The reference holds what rows without advantages no longer hold: without it whole colours were lost at the top. The
# heads follow returns that rise from 3 to 10 in a few updates.
LEARNER: dict[str, Any] = {
    "kl_coef": 0.03,
    "mini_batches": 4,
    "warmup_steps": 8,
    "betas": [0.9, 0.95],
    "value_lr": 30,
}
# Iterations, learning rate (HiMAC updates twice an iteration) and the phases that must learn.
CASES: dict[str, tuple[int, float, tuple[str, ...]]] = {
    "himac": (11, 3e-4, ("macro", "micro")),
    "himac-plus": (14, 6e-4, ("nested",)),
    "grpo": (12, 6e-4, ("flat",)),
    "rloo": (12, 6e-4, ("flat",)),
    "gigpo": (12, 6e-4, ("flat",)),
    "ppo": (12, 6e-4, ("flat",)),
    "hiper": (14, 6e-4, ("flat",)),
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "himac": {"name": "himac", "tasks": 12, "num_blueprints": 8, "num_rollouts": 8},
    "himac-plus": {"name": "himac-plus", "tasks": 12, "num_blueprints": 3, "num_rollouts": 3},
    "grpo": {"name": "grpo", "tasks": 12, "group_size": 8},
    "rloo": {"name": "rloo", "tasks": 12, "group_size": 8},
    "gigpo": {"name": "gigpo", "tasks": 12, "group_size": 8},
    "ppo": {"name": "ppo", "tasks": 12, "group_size": 8},
    "hiper": {"name": "hiper", "tasks": 12, "group_size": 8},
}
WORDS = {"hiper": (RULES, "KEEP\n> red", "SWITCH: say red\n> red")}
# Cards of a sub-goal and of an action, passes and learning rate, with which about a third of the sampled episodes
# succeed whatever the rounding. In large steps the model would forget how to copy before it learns to be careless.
CARELESS = {"hierarchical": (10, 7, 72, 5e-4), "flat": (6, 6, 48, 1e-3), "hiper": (12, 12, 48, 1e-3)}
AGENTS = {
    "himac": "hierarchical",
    "himac-plus": "hierarchical",
    "grpo": "flat",
    "rloo": "flat",
    "gigpo": "flat",
    "ppo": "flat",
    "hiper": "hiper",
}


def toy_config(
    algorithm: str,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    executor: dict[str, Any] | None = None,
    **train: Any,
) -> Config:
    """A run of `algorithm` on the colours, with other `settings` of it and of the executor."""
    agent = AGENTS[algorithm]
    # Where both roles are sampled, twice as many mistakes meet as where one is greedy.
    temperature = 0.75 if algorithm == "himac-plus" else 1.0
    return parse_config(
        {
            "seed": seed,
            # The careless imitator of `hiper` knows no third turn, and would fill it with tokens of no format.
            "env": {"name": "colours", "step_limit": 2 if agent == "hiper" else 6},
            "agent": {
                "name": agent,
                "max_context": 256 if agent == "hiper" else 160,
                "planner": {"max_subgoals": 4, "max_tokens": 24, "temperature": temperature},
                "executor": {"step_limit": 3, "max_tokens": 8, "temperature": temperature} | (executor or {}),
                "flat": {"max_tokens": 12, "thoughts": False},
                "hiper": {"max_tokens": 20},
            },
            "algo": ALGORITHMS[algorithm] | (settings or {}),
            "warmstart": {"passes": 140, "batch_tokens": 400, "lr": 0.02, "formats": [agent]},
            "train": {"eval_every": 0, "checkpoint_every": 1000} | train,
        }
    )


def make_toy_model(path: Path, seed: int = 0, words: Sequence[str] = (), heads: int = 4) -> Path:
    """An untrained model with a tokenizer for the benchmark's few words, and others."""
    benchmark = ColourBenchmark()
    demos = [benchmark.demonstrate(task, random.Random(0)) for task in benchmark.tasks("train")]
    texts = [f"{demo.observation}\nTask: {demo.instruction}\n{format_blueprint(demo.blueprint)}" for demo in demos]
    texts += ["Plan. Act. Goal: say you said red green blue gold Nothing happens.", *words] * 4
    shape = {"vocab_size": 420, "hidden_size": 64, "layers": 2, "heads": heads, "kv_heads": heads // 2}
    init_model(path, texts, **shape, max_position=256, seed=seed)
    return path


def make_imitator(agent: str, path: Path, heads: int = 4) -> Path:
    """A careless imitator of this kind of agent."""
    use_threads()
    algorithm = next(name for name, trained in AGENTS.items() if trained == agent)
    model = make_toy_model(path / "untrained", words=WORDS.get(agent, ()), heads=heads)
    with build_runtime(toy_config(algorithm), str(model), 64, ColourBenchmark()) as runtime:
        _imitate(runtime)
        return save_model(path / "imitator", runtime.policy.model, runtime.policy.tokenizer)


def _imitate(runtime: Runtime) -> None:
    config = runtime.config
    warmstart(runtime)  # learns to copy
    goal_cards, action_cards, passes, lr = CARELESS[config.agent.name]
    runtime.benchmark = CarelessColours(goal_cards, action_cards)
    careless = {"passes": passes, "optimizer": "adamw", "lr": lr}
    runtime.config = config.model_copy(update={"warmstart": config.warmstart.model_copy(update=careless)})
    warmstart(runtime)  # and to be careless about it
    runtime.config = config


def learn(config: Config, model: Path, run_dir: Path, benchmark: ColourBenchmark | None = None) -> list[dict[str, Any]]:
    """Reinforcement learning of `model`; the records of `metrics.jsonl`."""
    use_threads()
    with build_runtime(config, str(model), 64, benchmark or ColourBenchmark()) as runtime:
        Trainer(config, runtime, make_learner(runtime.policy, config), run_dir).run()
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def learning_run(algorithm: str, seed: int, imitator: Path, run_dir: Path) -> dict[str, list[float]]:
    """Sampled success of each phase of `algorithm`, iteration by iteration, starting from a careless imitator."""
    iterations, lr, phases = CASES[algorithm]
    records = learn(toy_config(algorithm, seed, iterations=iterations, learner=LEARNER | {"lr": lr}), imitator, run_dir)
    return {phase: [record["success"] for record in records if record["phase"] == phase] for phase in phases}


def objection(success: Sequence[float]) -> str | None:
    """Why a curve of sampled success is none of learning; `None` for one that starts low, rises and stays.

    The first iteration's episodes are those of the imitator.
    """
    first, last = success[0], success[-3:]
    if not 0.1 < first < 0.55:
        return f"starts at {first:.2f}, where little can be learned"
    if statistics.mean(last) < max(0.8, first + 0.35):
        return f"goes from {first:.2f} to {statistics.mean(last):.2f} only"
    if min(last) < max(0.7, first + 0.25):
        return f"rises from {first:.2f} and falls back to {min(last):.2f}"
    return None


def use_threads() -> None:
    """One thread unless the environment asks for more: a run is compared with others of as many."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
