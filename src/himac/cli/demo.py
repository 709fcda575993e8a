"""`himac demo`: from nothing to a trained planner and executor on the built-in household tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from himac.cli.console import console, percent
from himac.cli.report import write_report
from himac.cli.train import run_training
from himac.config_file import load_config
from himac.report.results import read_jsonl


def demo_command(overrides: Sequence[str], run_dir: Path | None, config_path: Path | None) -> None:
    """Make a small model, warm-start it, train it with HiMAC, and report success on held-out games."""
    started = time.perf_counter()
    preset = resources.files("himac") / "configs" / "alfworld" / "demo.yaml"
    with resources.as_file(preset) as packaged:
        config = load_config(config_path or packaged, overrides)
    folder = run_dir or _unused(Path("runs") / "demo")
    console.print(f"HiMAC demo: a model from scratch learns household tasks it has never seen -> {folder}")
    run_training(config, folder, resume=False)
    write_report(folder)
    evals = [record for record in read_jsonl(folder / "metrics.jsonl") if record["kind"] == "eval"]
    console.print(f"learning curve  {folder / 'learning_curve.png'}")
    console.print(f"summary         {folder / 'summary.md'}")
    console.print(f"report          {folder / 'report.html'}")
    console.print(f"{evals[-1]['tasks']} held-out games, {time.perf_counter() - started:.0f} s in all")
    console.print(f"success: {percent(evals[0]['success'])} -> {percent(evals[-1]['success'])}")


def _unused(folder: Path) -> Path:
    """`folder`, or `folder-2`, `folder-3`, ... when it holds an earlier run."""
    candidate, number = folder, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
