"""`himac report`: which files it writes where."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.cli.report import report_command
from himac.errors import DataError
from support.run_folders import make_run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix in (".html", ".md", ".png")}


def test_one_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    report_command([run], None)
    assert names(run) == {"report.html", "summary.md", "learning_curve.png"}
    report_command([run], tmp_path / "elsewhere" / "page.html")
    assert names(tmp_path / "elsewhere") == {"page.html"}


def test_a_folder_of_runs_has_one_page(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "bench" / f"seed-{n}", n) for n in range(2)]
    report_command([tmp_path / "bench"], None)
    assert names(tmp_path / "bench") == {"report.html"}
    assert [names(run) for run in runs] == [set(), set()]


def test_several_runs_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path / name) for name in ("a", "b")]
    report_command(runs, None)
    assert names(tmp_path) == {"report.html"}
    assert names(runs[0]) == {"summary.md", "learning_curve.png"}


def test_nothing_is_written_for_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        report_command([tmp_path], None)
    assert names(tmp_path) == set()
