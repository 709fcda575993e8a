"""HiMAC against flat GRPO on the built-in games: one warm start, equal environment steps, several seeds.

    python benchmarks/alfworld_methods.py --env-steps 60000 --seeds 0 1 2 --jobs 2

One model is warm-started on the same demonstrations in both agents' formats; every run starts from it. Success is on
all 200 held-out games, greedy. Writes benchmarks/results/alfworld_methods.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "src" / "himac" / "configs" / "alfworld"
METHODS = {"himac": CONFIGS / "demo.yaml", "grpo": CONFIGS / "demo-grpo.yaml"}


def himac(*arguments: object) -> None:
    command = [sys.executable, "-m", "himac", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def warm_start(folder: Path, threads: int) -> Path:
    model = folder / "warmstart"
    if not model.exists():
        config = METHODS["himac"]
        himac("init-model", config, folder / "init")
        formats = "warmstart.formats=[hierarchical, flat]"
        himac("warmstart", config, model, formats, f"threads={threads}", "--model", folder / "init")
    return model


def run(method: str, seed: int, model: Path, folder: Path, env_steps: int, threads: int) -> dict[str, Any]:
    run_dir = folder / f"{method}-{seed}"
    started = time.perf_counter()
    learner = ("train.learner.schedule=constant", "train.learner.lr=2e-4")
    budget = (*learner, "train.iterations=100000", f"train.env_steps={env_steps}", f"seed={seed}", f"threads={threads}")
    if not (run_dir / "done").exists():
        himac("train", METHODS[method], *budget, "--model", model, "--run-dir", run_dir)
        (run_dir / "done").write_text(f"{time.perf_counter() - started:.0f}")
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    evals = [record for record in records if record["kind"] == "eval"]
    return {
        "method": method,
        "seed": seed,
        "success_before": evals[0]["success"],
        "success_after": evals[-1]["success"],
        "curve": [(record["env_steps"], record["success"]) for record in evals],
        "env_steps": evals[-1]["env_steps"],
        "sampled_tokens": evals[-1]["tokens"],
        "iterations": evals[-1]["iteration"],
        "seconds": float((run_dir / "done").read_text()),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-steps", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of one run")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "alfworld-methods")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "alfworld_methods.json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    model = warm_start(options.folder, options.threads)
    cells = [(method, seed) for seed in options.seeds for method in options.methods]
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(run, method, seed, model, options.folder, options.env_steps, options.threads)
            for method, seed in cells
        ]
        results = [job.result() for job in jobs]
    by_method = {m: [r for r in results if r["method"] == m] for m in options.methods}
    report = {
        "command": " ".join(["python", "benchmarks/alfworld_methods.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {options.jobs} runs at a time with {options.threads} thread(s) each",
        "python": platform.python_version(),
        "success_after": {m: spread([r["success_after"] for r in rows]) for m, rows in by_method.items()},
        "gain": {m: spread([r["success_after"] - r["success_before"] for r in rows]) for m, rows in by_method.items()},
        "runs": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["success_after"], indent=2))


if __name__ == "__main__":
    main()
