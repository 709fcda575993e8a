"""`himac report`: the learning curve and the summary of a run directory."""

from __future__ import annotations

from pathlib import Path

from himac.cli.console import console
from himac.inert import inert


def report_command(run_dir: Path) -> None:
    """Write `summary.md` and `learning_curve.png` into the run directory."""
    write_report(run_dir)
    console.print(f"report: {run_dir / 'summary.md'} and {run_dir / 'learning_curve.png'}")


def write_report(run_dir: Path) -> None:
    """Draw the curve and write the page."""
    from himac.report.curves import draw_curves
    from himac.report.summary import summarise_run

    page = summarise_run(run_dir)
    draw_curves(run_dir / "metrics.jsonl", run_dir / "learning_curve.png", title=run_dir.resolve().name)
    (run_dir / "summary.md").write_text(inert(page), encoding="utf-8")
