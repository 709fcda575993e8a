"""Does the planner matter? Trained executors under four kinds of blueprints, on 200 held-out built-in games.

    python benchmarks/alfworld_planner.py runs/demo runs/demo-2 runs/demo-3

Each argument is the directory of a finished `himac demo` run. The executor is always the trained one; the blueprints
come from the trained planner, from the planner as it was after the warm start (sampled), from
`random_blueprint` (well formed, blind to the task), or there is a single sub-goal: the task itself. Writes
benchmarks/results/alfworld_planner.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from himac.machine import machine

ROOT = Path(__file__).resolve().parents[1]
SOURCES: dict[str, list[str]] = {
    "trained planner": [],
    "warm-started planner, sampled": ["--planner-model", "warmstart"],
    "random blueprint": ["--blueprints", "random"],
    "no blueprint": ["--blueprints", "none"],
}


def evaluate(run_dir: Path, source: str) -> float:
    model = run_dir / "checkpoints" / (run_dir / "checkpoints" / "latest").read_text().strip()
    options = [str(run_dir / word) if word == "warmstart" else word for word in SOURCES[source]]
    output = run_dir / "planner" / source.replace(" ", "-").replace(",", "")
    command = [sys.executable, "-m", "himac", "eval", str(run_dir / "config.yaml"), "--model", str(model)]
    command += ["--temperature", "0", "--output", str(output)]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    success: float = json.loads((output / "summary.json").read_text())["success"]
    return success


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "alfworld_planner.json")
    options = parser.parse_args()
    table: dict[str, Any] = {}
    for source in SOURCES:
        values = [evaluate(run.resolve(), source) for run in options.runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        table[source] = {"success": values, "mean": statistics.mean(values), "std": spread}
        print(f"{source:32s} {100 * statistics.mean(values):.1f} +- {100 * spread:.1f}")
    report = {
        "command": "python benchmarks/alfworld_planner.py RUN ...",
        "machine": machine(),
        "runs": len(options.runs),
        "blueprints": table,
    }
    options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
