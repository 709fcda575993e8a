"""`himac export`: a run's episodes for other viewers."""

from __future__ import annotations

from pathlib import Path

from himac.cli.console import console
from himac.errors import ConfigError


def export_command(path: Path, output: Path | None, inspect: bool) -> None:
    """Write the logs of every run in or below the path."""
    from himac.report.runs import find_runs, read_runs

    if not inspect:
        raise ConfigError("say what to write: --inspect makes logs for Inspect AI")
    runs = read_runs(find_runs([path]))
    from himac.report.inspect_log import export_run

    folder = output or path / "inspect"
    count = sum(len(export_run(run, folder)) for run in runs)
    console.print(f"{count} logs in {folder}: inspect view --log-dir {folder}")
