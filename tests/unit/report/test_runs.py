"""What run directories tell a page: every value derived from the files of `make_run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.errors import DataError
from himac.report.runs import find_runs, markdown_tables, read_runs, run_data, series_data, tables
from himac.report.tables import markdown_table
from support.run_folders import make_run, told, write_lines


def test_runs_are_found_in_folders_of_any_depth(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "runs" / "task" / "seed-0"), make_run(tmp_path / "runs" / "task" / "seed-1")
    other = tmp_path / "evaluation"
    write_lines(other / "results.jsonl", [told("a")])
    assert find_runs([tmp_path]) == [other, first, second]
    assert find_runs([first, tmp_path / "runs"]) == [first, second]  # each once; its evaluations are no runs


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        find_runs([tmp_path])


def test_links_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    make_run(tmp_path / "outside")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "run").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="holds no run"):
        find_runs([tmp_path / "here"])


def test_figures_by_column(tmp_path: Path) -> None:
    (run,) = read_runs([make_run(tmp_path / "run")])
    data = run_data(run)
    assert (data["name"], data["seed"], data["config"]["train.learner.lr"]) == ("run", "0", "0.1")
    assert data["eval"]["success"] == [0.0, 0.5]
    assert data["eval"]["success/pick"] == [0.0, 0.5]
    assert data["train"]["macro"]["entropy"] == [1.0, 0.5]
    assert data["train"]["macro"]["tokens"] == [1000, 2000]
    # Seconds of training: 10 a phase; evaluations do not count.
    assert data["train"]["macro"]["seconds"] == [10.0, 20.0]
    assert data["eval"]["seconds"] == [0.0, 20.0]
    assert data["spent"] == {"generation": 12.0, "environment": 4.0, "update": 2.0, "rest": 2.0, "evaluation": 10.0}


def test_seconds_are_unknown_from_the_first_line_whose_time_was_not_kept(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_lines(folder / "timings.jsonl", [{"iteration": 0, "phase": "macro", "total_s": 10.0}])
    (run,) = read_runs([folder])
    assert run_data(run)["train"]["macro"]["seconds"] == [10.0, None]


def test_runs_that_differ_in_the_seed_alone_are_one_series(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "m" / f"seed-{seed}", seed) for seed in (0, 1)] + [make_run(tmp_path / "n", lr=0.2)]
    runs = read_runs(folders)
    assert [run.name for run in runs] == ["m/seed-0", "m/seed-1", "n"]
    assert series_data(runs) == [{"name": "m", "runs": [0, 1]}, {"name": "n", "runs": [2]}]


def test_tables_of_a_page() -> None:
    page = f"# Title\n\n## One\n\n{markdown_table(('a', 'b'), [('x|y', '`1`'), ('z', '2.0 ± 1')])}\n\ntext\n"
    assert list(markdown_tables(page)) == [("One", ["a", "b"], [["x|y", "1"], ["z", "2.0 ± 1"]])]


def test_tables_of_runs_and_of_a_benchmark(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    titles = [table["title"] for table in tables(read_runs([folder]), [folder])]
    assert titles == ["Configuration", "Success", "Why episodes ended", "Time", "Last evaluation by type"]
    (tmp_path / "tables.md").write_text("## Success\n\n| method | T=0.4 |\n| --- | ---: |\n| himac | 5.0 |\n")
    assert tables(read_runs([folder]), [tmp_path])[0] == {
        "title": "Success",
        "header": ["method", "T=0.4"],
        "rows": [["himac", "5.0"]],
    }
