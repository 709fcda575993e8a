"""docs/sokoban.md names every setting, and its tables are the measured ones."""

from __future__ import annotations

import inspect
import json
import statistics
from pathlib import Path

from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.envs.sokoban.levels import BUILTIN_SETS

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "sokoban.md").read_text(encoding="utf-8")


def rows(start: str) -> list[list[str]]:
    """Cells of the first table after `start`, without its header."""
    parts = PAGE.split(start, 1)[1].split("\n\n")
    lines = next(part for part in parts if part.lstrip().startswith("|")).splitlines()
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_settings_are_those_of_the_benchmark() -> None:
    defaults = {name: str(p.default) for name, p in inspect.signature(SokobanBenchmark).parameters.items()}
    assert {row[0]: row[1] for row in rows("## Settings")} == defaults


def test_the_built_in_sets_are_those_described() -> None:
    expected = []
    for name in BUILTIN_SETS:
        benchmark = SokobanBenchmark(f"builtin:{name}")
        for split in benchmark.splits():
            levels = benchmark.levels(split)
            moves, pushes = [level.moves or 0 for level in levels], [level.pushes or 0 for level in levels]
            means = [f"{statistics.fmean(values):.2f}" for values in (moves, pushes)]
            counted = [str(len(levels)), means[0], str(max(moves)), means[1]]
            expected.append([name, split, *counted, benchmark.split_hash(split)[:12]])
    assert rows("is the setting of the published comparisons") == expected


def test_the_speeds_are_those_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "sokoban_engine.json").read_text(encoding="utf-8"))["sets"]
    kinds = ("step grid", "step coordinates", "step image", "solve moves", "generate")
    expected = [[name, *(str(one["median_ms"][kind]) for kind in kinds)] for name, one in results.items()]
    assert rows("## Speed") == expected
