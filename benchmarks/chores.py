"""Household chores: how many rooms have a list of K, how the scripted expert does, and how long the contexts are.

python benchmarks/chores.py [--official FOLDER] [--model DIRECTORY] [--out benchmarks/results/chores.json]

Contexts are measured with the tokenizer of a model that `himac init-model configs/chores/tiny.yaml` made.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from himac.config_file import load_config
from himac.envs.alfworld.benchmark import SIZES
from himac.envs.alfworld.chore_env import step_limit
from himac.envs.alfworld.chores import ChoresBenchmark
from himac.envs.alfworld.goals import TASK_TYPES
from himac.rollout.runtime import AGENTS
from himac.types import Demonstration

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (1, 2, 4, 8)


def expert(benchmark: ChoresBenchmark, split: str) -> dict[str, Any]:
    """Rooms with a list, the expert's success and steps, sub-goals of a blueprint, and the task types' shares."""
    tasks = benchmark.tasks(split)
    demos = [benchmark.demonstrate(task, random.Random(task.id)) for task in tasks]
    steps = [sum(turn.action is not None for part in demo.segments for turn in part.turns) for demo in demos]
    plans = [len(demo.blueprint) for demo in demos]
    kinds = Counter(chore.kind for task in tasks for chore in task.options["chores"])
    return {
        "split_hash": benchmark.split_hash(split),
        "games": len(benchmark.games(split)),
        "lists": len(tasks),
        "success": round(sum(demo.success for demo in demos) / len(demos), 4),
        "mean_steps": round(float(np.mean(steps)), 1),
        "max_steps": max(steps),
        "step_limit": step_limit(max(benchmark.counts)),
        "mean_subgoals": round(float(np.mean(plans)), 1),
        "max_subgoals": max(plans),
        "shares": {kind: round(kinds[kind] / kinds.total(), 3) for kind in TASK_TYPES},
    }


def contexts(benchmark: ChoresBenchmark, split: str, model: Path) -> dict[str, Any]:
    """Tokens of the demonstrations' contexts by format and role: mean, 95th percentile, longest; the longest reply."""
    config = load_config(ROOT / "configs" / "chores" / "tiny.yaml")
    tokenizer = AutoTokenizer.from_pretrained(model)
    demos: list[Demonstration] = [benchmark.demonstrate(t, random.Random(t.id)) for t in benchmark.tasks(split)]
    found: dict[str, Any] = {"success": round(sum(demo.success for demo in demos) / len(demos), 4)}
    for name in ("hierarchical", "flat", "hiper"):
        agent = AGENTS[name](tokenizer, benchmark.texts, config.agent)
        rows = [row for demo in demos for row in agent.demo_rows(demo)]
        for role in sorted({row.role for row in rows}):
            lengths = [len(row.input_ids) for row in rows if row.role == role]
            found[name if name != "hierarchical" else str(role)] = {
                "mean": round(float(np.mean(lengths))),
                "p95": round(float(np.percentile(lengths, 95))),
                "max": max(lengths),
            }
    return found


def main() -> None:
    """Measure and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", help="folder of official games with the splits train and valid_seen")
    parser.add_argument("--model", type=Path, help="model directory whose tokenizer counts")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "chores.json")
    arguments = parser.parse_args()
    data = {f"builtin:{size}": "valid" for size in SIZES}
    if arguments.official:
        data[arguments.official] = "valid_seen"
    results: dict[str, Any] = {"expert": {}, "contexts": {}}
    for source, split in data.items():
        name = source if source.startswith("builtin:") else "official"
        for count in COUNTS:
            found = expert(ChoresBenchmark(count, source), split)
            results["expert"].setdefault(f"{name}/{split}", {})[str(count)] = found
            print(name, split, count, found)
    for count in COUNTS if arguments.model else ():
        shown = ChoresBenchmark(count, "builtin:medium", noise=0.1, hint_noise=0.2)  # as configs/chores/tiny.yaml
        results["contexts"][str(count)] = contexts(shown, "valid", arguments.model)
        print(count, results["contexts"][str(count)])
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
