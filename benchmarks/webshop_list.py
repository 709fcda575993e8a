"""Shopping lists of the generated catalogue: how the scripted customer does, and how long the contexts are.

python benchmarks/webshop_list.py --model DIRECTORY [--out benchmarks/results/webshop_list.json]

Contexts are measured with the tokenizer of a model that `himac init-model configs/webshop/tiny.yaml` made.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from himac.config_file import load_config
from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.rollout.runtime import AGENTS

ROOT = Path(__file__).resolve().parents[1]


def measure(count: int, tokenizer: Any) -> dict[str, Any]:
    """The customer on the eval lists without noise, and tokens of the contexts: mean and longest."""
    shop = WebShopBenchmark(view="compact", purchases=count)
    config = load_config(ROOT / "configs" / "webshop" / "tiny.yaml", ["agent.flat.repeat_task=false"])
    demos = [shop.demonstrate(task, random.Random(task.id)) for task in shop.tasks("eval")]
    steps = [sum(turn.action is not None for part in demo.segments for turn in part.turns) for demo in demos]
    found: dict[str, Any] = {
        "split_hash": shop.split_hash("eval"),
        **shop.conditions,
        "lists": len(demos),
        "success": round(100 * sum(demo.success for demo in demos) / len(demos), 1),
        "mean_steps": round(float(np.mean(steps)), 2),
        "max_steps": max(steps),
        "step_limit": shop.step_limit,
        "max_subgoals": max(len(demo.blueprint) for demo in demos),
    }
    for name in ("hierarchical", "flat", "hiper"):
        agent = AGENTS[name](tokenizer, shop.texts, config.agent)
        rows = [row for demo in demos for row in agent.demo_rows(demo)]
        for role in sorted({row.role for row in rows}):
            lengths = [len(row.input_ids) for row in rows if row.role == role]
            label = name if name != "hierarchical" else str(role)
            found[label] = {"mean": round(float(np.mean(lengths))), "max": max(lengths)}
    return found


def main() -> None:
    """Measure and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model directory whose tokenizer counts")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "webshop_list.json")
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    results = {str(count): measure(count, tokenizer) for count in (1, 2, 4)}
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
