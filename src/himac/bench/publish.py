"""From an output folder to `results.json`, `tables.md` and one picture of curves a task."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired

from pydantic import TypeAdapter, with_config
from typing_extensions import TypedDict

from himac import __version__
from himac.bench.matrix import Matrix, cell_name, load_matrix
from himac.bench.runner import BASE, MATRIX, last_records, read_cells
from himac.config_file import load_config
from himac.envs.registry import kind_titles
from himac.errors import DataError
from himac.inert import inert
from himac.machine import in_words
from himac.report.cells import CellResult, read_evaluation, read_training
from himac.report.comparison import comparison_page, differences
from himac.report.curves import comparison, save_figure
from himac.report.results import STRICT, Count, read_record
from himac.report.tables import markdown_table
from himac.store.atomic import WriteGuard, write_text


@with_config(STRICT)
class _Torch(TypedDict):
    capability: str
    threads: Count


@with_config(STRICT)
class _Machine(TypedDict):
    """What `machine.in_words` tells."""

    processor: str
    architecture: str
    cores: Count | None
    torch: NotRequired[_Torch]


class _Environment(TypedDict):
    machine: NotRequired[_Machine]


_ENVIRONMENT = TypeAdapter[Any](_Environment)


def publish(output: Path) -> list[Path]:
    """Write everything anew from the run directories; returns the files.

    Raises:
        DataError: the folder holds no matrix or no finished cell.
    """
    if not (output / MATRIX).is_file():
        raise DataError(f"{output} holds no benchmark ({MATRIX} is missing); give the --output of `himac bench`.")
    matrix, records = load_matrix(output / MATRIX), last_records(output)
    failed = {name: record for name, record in records.items() if record["code"] != 0}
    done = [record for name, record in records.items() if name not in failed]
    if not done:
        raise DataError(f"{output} has no finished run; start `himac bench` until one is.")
    seconds = defaultdict[str, float](float)  # an evaluation keeps what an attempt that failed has finished
    for record in read_cells(output):
        seconds[record["cell"]] += record["seconds"]
    cells = _sorted(matrix, [_read(output, record, seconds[record["cell"]]) for record in done])
    page = comparison_page(
        cells, output.resolve().name, matrix.reference, matrix.ablations, matrix.targets, _titles(output, matrix)
    )
    machines = _machines(output, done)
    if machines:
        page += f"\nTrained on {'; '.join(map(in_words, machines))}.\n"
    if failed:
        rows = [(name, str(record["error"])) for name, record in sorted(failed.items())]
        page += f"\n## Failed runs\n\n{markdown_table(('run', 'error'), rows)}\n"
    with WriteGuard(f"tables in {output}"):
        write_text(output / "results.json", json.dumps(_json(matrix, cells, failed, machines), indent=2))
        write_text(output / "tables.md", inert(page.rstrip("\n")))
        pictures = []
        for task in dict.fromkeys(cell.task for cell in cells):
            here = [cell for cell in cells if cell.task == task]
            runs = {m: [c.curve for c in here if c.method == m] for m in dict.fromkeys(c.method for c in here)}
            pictures.append(save_figure(comparison(runs, task), output / f"curves-{task}.png"))
    return [output / "tables.md", output / "results.json", *pictures]


def _titles(output: Path, matrix: Matrix) -> dict[str, str]:
    """How the benchmarks of the matrix call their task types."""
    names = {load_config(output / BASE).env.name, *(own.get("env.name") for own in matrix.tasks.values())}
    return {kind: title for name in names if name for kind, title in kind_titles(str(name)).items()}


def _read(output: Path, record: Mapping[str, Any], seconds: float) -> CellResult:
    task, method, seed = str(record["task"]), str(record["method"]), int(record["seed"])
    folder = output / "runs" / cell_name(task, method, seed)
    if record["kind"] == "eval":
        return read_evaluation(folder, task, method, seed, seconds)
    return read_training(folder, task, method, seed, record["budget"])


def _machines(output: Path, records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the trainings ran on, each machine once; runs of older versions do not tell."""
    found = list[dict[str, Any]]()
    for record in records:
        path = output / "runs" / cell_name(record["task"], record["method"], record["seed"]) / "environment.json"
        told = read_record(path, _ENVIRONMENT).get("machine") if path.is_file() else None
        if told is not None and told not in found:
            found.append(told)
    return found


def _sorted(matrix: Matrix, cells: list[CellResult]) -> list[CellResult]:
    """In the order of the matrix; what it no longer names comes last."""

    def place(names: Mapping[str, Any], name: str) -> tuple[int, str]:
        return (list(names).index(name) if name in names else len(names), name)

    return sorted(cells, key=lambda c: (place(matrix.tasks, c.task), place(matrix.methods, c.method), c.seed))


def _json(
    matrix: Matrix, cells: list[CellResult], failed: Mapping[str, Mapping[str, Any]], machines: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "himac": __version__,
        "machines": machines,
        "threads": matrix.threads,
        "matrix": matrix.model_dump(mode="json", exclude_defaults=True),
        "cells": [cell.to_json() for cell in cells],
        "differences": [asdict(one) for one in differences(cells, matrix.reference)] if matrix.reference else [],
        "failed": {name: record["error"] for name, record in failed.items()},
    }
