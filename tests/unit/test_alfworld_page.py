"""docs/alfworld.md names every setting, and its table is the measured one."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from himac.envs.alfworld.benchmark import AlfworldBenchmark

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "alfworld.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def test_the_settings_are_those_of_the_benchmark() -> None:
    table = PAGE.split("## Settings")[1].split("## Games")[0]
    rows = [cells(line)[:2] for line in table.splitlines() if line.startswith("| `")]
    defaults = {name: p.default for name, p in inspect.signature(AlfworldBenchmark).parameters.items()}
    assert dict(rows) == {name: "null" if value is None else str(value) for name, value in defaults.items()}


def test_the_figures_of_the_expert_are_those_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "alfworld_expert.json").read_text(encoding="utf-8"))
    table = PAGE.split("without noise:")[1]
    rows = [cells(line) for line in table.splitlines() if re.match(r"\| (built-in|official) ", line)]
    expected = []
    for name, result in results.items():
        label = re.sub(r"[:/]", " ", name).replace("builtin", "built-in")
        figures = result["all"]
        expected.append(
            [
                *(label, str(figures["games"]), f"{figures['success']:.4f}"),
                *(str(figures["mean_steps"]), str(figures["max_steps"]), result["split_hash"][:12]),
            ]
        )
    assert rows == expected, f"write into the table: {expected}"
