"""docs/chores.md names every setting, and its tables are the measured ones."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from himac.envs.alfworld.chore_env import step_limit
from himac.envs.alfworld.chores import ChoresBenchmark

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "chores.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "chores.json").read_text(encoding="utf-8"))


def rows(heading: str) -> list[list[str]]:
    """Cells of the table of a section, without its header."""
    lines = [line for line in PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_settings_are_those_of_the_benchmark() -> None:
    defaults = {name: p.default for name, p in inspect.signature(ChoresBenchmark).parameters.items()}
    expected = {name: "null" if value is None else str(value) for name, value in defaults.items()}
    assert {row[0]: row[1] for row in rows("Settings")} == expected


def test_the_figures_of_the_expert_are_those_measured() -> None:
    expected = []
    for name, counts in RESULTS["expert"].items():
        for count, one in counts.items():
            assert one["step_limit"] == step_limit(int(count))
            label = name.replace("builtin:", "built-in ").replace("/", " ")
            figures = [one[key] for key in ("mean_steps", "max_steps", "step_limit", "mean_subgoals", "max_subgoals")]
            lists = f"{one['lists']} of {one['games']}"
            expected.append([label, count, lists, f"{one['success']:.4f}", *map(str, figures), one["split_hash"][:12]])
    assert rows("The expert") == expected


def test_the_contexts_are_those_measured() -> None:
    kinds = ("planner", "executor", "flat", "hiper")
    expected = [
        [count, *(f"{one[kind]['mean']} / {one[kind]['max']}" for kind in kinds)]
        for count, one in RESULTS["contexts"].items()
    ]
    assert rows("Contexts") == expected
    assert all(one["executor"]["p95"] < 245 for one in RESULTS["contexts"].values())


def test_the_lists_are_those_measured() -> None:
    small = ChoresBenchmark(1)
    assert small.split_hash("valid") == RESULTS["expert"]["builtin:small/valid"]["1"]["split_hash"]
