"""`himac report`: the page of one run or several, and the summary and the learning curve of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from himac.cli.console import console
from himac.inert import inert


def report_command(folders: Sequence[Path], output: Path | None) -> None:
    """Write the page and, for what is a training run itself, `summary.md` and `learning_curve.png` beside its files."""
    from himac.report.runs import METRICS
    from himac.report.web import PAGE, write_page

    page = output or (folders[0] / PAGE if len(folders) == 1 else Path(PAGE))
    write_page(folders, page)
    for folder in folders:
        if (folder / METRICS).is_file():
            _write_summary(folder)
            console.print(f"summary: {folder / 'summary.md'} and {folder / 'learning_curve.png'}")
    console.print(f"report: {page}")


def write_report(run_dir: Path) -> None:
    """The three files of one run."""
    from himac.report.web import PAGE, write_page

    _write_summary(run_dir)
    write_page([run_dir], run_dir / PAGE)


def _write_summary(run_dir: Path) -> None:
    from himac.report.curves import draw_curves
    from himac.report.summary import summarise_run

    page = summarise_run(run_dir)
    draw_curves(run_dir / "metrics.jsonl", run_dir / "learning_curve.png", title=run_dir.resolve().name)
    (run_dir / "summary.md").write_text(inert(page), encoding="utf-8")
