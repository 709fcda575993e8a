"""`himac demo` over several seeds: success on 200 held-out built-in games before and after reinforcement learning.

    python benchmarks/alfworld_demo.py --seeds 0 1 2
    python benchmarks/alfworld_demo.py --runs runs/demo runs/demo-2     # only read finished runs

Each seed is a model, a warm start and a run of its own. Writes benchmarks/results/alfworld_demo.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def demo(seed: int, folder: Path) -> Path:
    run = folder / f"seed-{seed}"
    if not run.exists():
        subprocess.run([sys.executable, "-m", "himac", "demo", f"seed={seed}", "--run-dir", str(run)], check=True)
    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(run: Path) -> dict[str, Any]:
    evals = [record for record in lines(run / "metrics.jsonl") if record["kind"] == "eval"]
    warm = json.loads((run / "warmstart" / "warmstart.json").read_text(encoding="utf-8"))
    seconds = sum(float(record["total_s"]) for record in lines(run / "timings.jsonl"))
    return {
        "run": run.name,
        "machine": json.loads((run / "environment.json").read_text(encoding="utf-8")).get("machine"),
        "tasks": evals[0]["tasks"],
        "before": evals[0]["success"],
        "after": evals[-1]["success"],
        "iterations": evals[-1]["iteration"],
        "env_steps": evals[-1]["env_steps"],
        "warm_start_tokens": warm["tokens"],
        "warm_start_s": round(warm["seconds"], 1),
        "reinforcement_and_evaluation_s": round(seconds, 1),
        "curve": [(record["env_steps"], record["success"]) for record in evals],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, nargs="*", help="finished runs to read instead")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "demo-seeds")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "alfworld_demo.json")
    options = parser.parse_args()
    runs = [read(run) for run in options.runs or [demo(seed, options.folder) for seed in options.seeds]]
    gains = [run["after"] - run["before"] for run in runs]
    report = {
        "command": "python benchmarks/alfworld_demo.py",
        "split": "builtin:small valid, greedy, every task once",
        "gain": {"mean": statistics.mean(gains), "std": statistics.stdev(gains) if len(gains) > 1 else 0.0},
        "runs": runs,
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for run, gain in zip(runs, gains, strict=True):
        print(f"{run['run']}: {run['before']:.1%} -> {run['after']:.1%} ({100 * gain:+.1f})")


if __name__ == "__main__":
    main()
