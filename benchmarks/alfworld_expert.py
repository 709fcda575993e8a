"""How well the scripted ALFWorld expert plays, by task type, on the built-in and (if given) the official games.

python benchmarks/alfworld_expert.py [--official FOLDER] [--out benchmarks/results/alfworld_expert.json]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from himac.envs.alfworld.benchmark import SIZES, AlfworldBenchmark
from himac.machine import machine
from himac.types import Demonstration


def measure(benchmark: AlfworldBenchmark, split: str) -> dict[str, Any]:
    """Success rate within the step limit and mean steps of the won games, for each task type and in all."""
    tasks = benchmark.tasks(split)
    _ = benchmark.prior  # counted before the clock starts
    begun = time.perf_counter()
    demos: dict[str, list[Demonstration]] = defaultdict(list)
    for task in tasks:
        demos[task.kind].append(benchmark.demonstrate(task, random.Random(task.id)))
    milliseconds = 1e3 * (time.perf_counter() - begun) / len(tasks)
    by_type = {kind: _summary(found) for kind, found in sorted(demos.items())}
    everything = _summary([demo for found in demos.values() for demo in found])
    return {
        "split_hash": benchmark.split_hash(split),
        "all": everything,
        "by_type": by_type,
        "ms_per_game": round(milliseconds, 2),
    }


def _summary(demos: list[Demonstration]) -> dict[str, Any]:
    steps = [
        sum(turn.action is not None for segment in demo.segments for turn in segment.turns)
        for demo in demos
        if demo.success
    ]
    return {
        "games": len(demos),
        "success": round(len(steps) / len(demos), 4),
        "mean_steps": round(sum(steps) / max(1, len(steps)), 2),
        "max_steps": max(steps, default=0),
    }


def main() -> None:
    """Measure and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", help="folder of official games with a train split and others to measure on")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "alfworld_expert.json")
    arguments = parser.parse_args()
    results = {f"builtin:{size}/valid": measure(AlfworldBenchmark(f"builtin:{size}"), "valid") for size in SIZES}
    if arguments.official:
        benchmark = AlfworldBenchmark(arguments.official)
        for split in benchmark.splits():
            if split != "train":
                results[f"official/{split}"] = measure(benchmark, split)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n", encoding="utf-8")
    for name, result in results.items():
        print(f"{name}: {result['all']} {result['ms_per_game']} ms a game")


if __name__ == "__main__":
    main()
