"""What run directories tell a page: their figures by column, and which of them differ in the seed alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himac.errors import DataError
from himac.files import SETTINGS_BYTES, inside, parse_yaml, read_text
from himac.renamed import present_names
from himac.report.results import METRIC, Record, number, read_jsonl
from himac.report.summary import read_timings, seconds_split, summarise_run

METRICS, RESULTS, EPISODES = "metrics.jsonl", "results.jsonl", "episodes.jsonl"
CONFIG, _TABLES = "config.yaml", "tables.md"
OWN = (METRICS, "timings.jsonl", EPISODES, RESULTS, CONFIG)
"""What is read in the run's own folder; evaluations lie in folders below it."""
_DEPTH = 6
_DIGITS = 6
_SEED, _NOT_THE_METHOD = "seed", ("seed", "threads", "train.rollout_workers", "model.path")
_COUNTERS = ("iteration", "env_steps", "tokens")


@dataclass(frozen=True, slots=True)
class Run:
    """A directory of `himac train`, or of `himac eval`, which has no metrics.

    Attributes:
        config: Dotted key -> value as text; empty without a configuration.
    """

    name: str
    folder: Path
    metrics: list[dict[str, Any]]
    timings: list[dict[str, Any]]
    config: dict[str, str]

    @property
    def series(self) -> str:
        """Equal for runs that differ in their seed alone."""
        return json.dumps({key: value for key, value in self.config.items() if key not in _NOT_THE_METHOD})


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Every run in or below the folders, sorted within each; what lies inside a run is part of it.

    Raises:
        DataError: a folder holds none.
    """
    found = list[Path]()
    for folder in folders:
        here = list(_runs_below(folder))
        if not here:
            raise DataError(
                f"{folder} holds no run (no {METRICS} or {RESULTS}); give the directory that `himac train` wrote."
            )
        found += [path for path in here if path not in found]
    return found


def _runs_below(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    if any((folder / name).is_file() for name in (METRICS, RESULTS)):
        yield folder
    elif depth and folder.is_dir():
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _runs_below(Path(entry.path), depth - 1)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs with names that tell them apart: the part of their paths that differs.

    Raises:
        DataError: a file of theirs is damaged, or is a link to a file elsewhere.
    """
    paths = [folder.resolve() for folder in folders]
    common = Path(os.path.commonpath(paths)) if len(paths) > 1 else paths[0].parent
    return [_read(str(path.relative_to(common)), folder) for path, folder in zip(paths, folders, strict=True)]


def _read(name: str, folder: Path) -> Run:
    for path in (folder / own for own in OWN):
        if path.is_file() and not inside(folder, path):
            raise DataError(f"{path} is a link to a file outside the run; put a copy in its place.")
    metrics = read_jsonl(folder / METRICS, METRIC) if (folder / METRICS).is_file() else []
    return Run(name, folder, metrics, read_timings(folder), _config(folder / CONFIG))


def _config(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        tree, _ = present_names(parse_yaml(read_text(path, SETTINGS_BYTES)))
    except ValueError as error:
        raise DataError(f"{path} is not valid YAML ({error}); restore that file.") from error
    return dict(_flat(tree))


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)


def run_data(run: Run) -> dict[str, Any]:
    """A run as plain values: figures as one list a key, `null` where a line lacks it."""
    seconds = _seconds(run)
    lines = [(line, at) for line, at in zip(run.metrics, seconds, strict=True) if number(line, "env_steps") is not None]
    phases: dict[str, list[tuple[Record, float | None]]] = {}
    for line, at in lines:
        if line.get("kind") != "eval":
            phases.setdefault(str(line.get("phase", "")), []).append((line, at))
    return {
        "name": run.name,
        "seed": run.config.get(_SEED),
        "config": run.config,
        "eval": _columns([(line, at) for line, at in lines if line.get("kind") == "eval"]),
        "train": {phase: _columns(own) for phase, own in phases.items()},
        "spent": seconds_split(run.timings) if run.timings else {},
        "warnings": [
            [line.get("iteration"), str(warning)]
            for line in run.metrics
            if isinstance(told := line.get("warnings"), list)
            for warning in told
        ],
    }


def _seconds(run: Run) -> list[float | None]:
    """Seconds of training up to each line of the metrics; unknown from the first line on whose time was not kept."""
    took = {_place(line): number(line, "total_s") for line in run.timings}
    total: float | None = 0.0
    passed = list[float | None]()
    for line in run.metrics:
        if line.get("kind") != "eval":
            spent = took.get(_place(line))
            total = None if total is None or spent is None else total + spent
        passed.append(None if total is None else round(total, 1))
    return passed


def _place(line: Record) -> tuple[float | None, str]:
    return number(line, "iteration"), str(line.get("phase"))


def _columns(lines: Sequence[tuple[Record, float | None]]) -> dict[str, list[float | None]]:
    keys = dict.fromkeys((*_COUNTERS, *(key for line, _ in lines for key in line)))
    columns = {key: [_short(number(line, key)) for line, _ in lines] for key in keys}
    columns = {key: column for key, column in columns.items() if any(value is not None for value in column)}
    return columns | {"seconds": [at for _, at in lines]}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}") if abs(value) < 10**_DIGITS else value


def series_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs that differ in their seed alone, as `{name, runs}`, numbers of the runs in the order they were given."""
    members: dict[str, list[int]] = {}
    for n, run in enumerate(runs):
        members.setdefault(run.series if run.config else run.name, []).append(n)
    return [{"name": _shared_name([runs[n].name for n in own]), "runs": own} for own in members.values()]


def _shared_name(names: Sequence[str]) -> str:
    """`task/method` for `task/method/seed-0` and `task/method/seed-1`; all names where they share no folder."""
    if len(names) == 1:
        return names[0]
    return os.path.commonpath(names) or ", ".join(names)


def tables(runs: Sequence[Run], roots: Sequence[Path]) -> list[dict[str, Any]]:
    """The tables of the summaries and, for benchmark folders among `roots`, of their `tables.md`."""
    pages = [("", read_text(root / _TABLES)) for root in roots if (root / _TABLES).is_file()]
    pages += [(run.name, summarise_run(run.folder, examples=0)) for run in runs if run.metrics]
    return [
        {"title": f"{name}: {title}" if name and len(runs) > 1 else title, "header": header, "rows": rows}
        for name, page in pages
        for title, header, rows in markdown_tables(page)
    ]


def markdown_tables(page: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Heading above, header and rows of every table of a page that `markdown_table` made."""
    title, table = "", list[list[str]]()
    for line in [*page.splitlines(), ""]:
        if line.startswith("|"):
            cells = (cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1]))
            table.append([cell[1:-1] if re.fullmatch(r"`[^`]+`", cell) else cell for cell in cells])
            continue
        if len(table) > 2:
            yield title, table[0], table[2:]
        table = []
        if line.startswith("#"):
            title = line.lstrip("#").strip()
