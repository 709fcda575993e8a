"""docs/webshop.md names every setting, and its figures are the measured ones."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from himac.envs.webshop.benchmark import WebShopBenchmark

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "webshop.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "webshop_engine.json").read_text(encoding="utf-8"))


def rows(text: str) -> list[list[str]]:
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_settings_are_those_of_the_benchmark() -> None:
    table = PAGE.split("## Settings")[1].split("## Products")[0]
    named = dict(row[:2] for row in rows("\n".join(line for line in table.splitlines() if line.startswith("| `"))))
    assert named == {name: str(p.default) for name, p in inspect.signature(WebShopBenchmark).parameters.items()}


def test_the_figures_of_the_customer_are_those_measured() -> None:
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith(("| builtin ", "| official ")))
    assert rows(table) == [
        [
            *(name, rules, str(run["score"]), str(run["success"]), str(run["mean_steps"]), run["tagger"]),
            RESULTS[name]["test_hash"][:12],
        ]
        for name in ("builtin", "official")
        for rules, run in RESULTS[name]["customer"].items()
    ]


def test_the_figures_of_the_catalogue_are_those_measured() -> None:
    builtin = RESULTS["builtin"]
    assert f"{builtin['products']} products of 40 kinds in five" in PAGE
    assert f"departments, {builtin['goals']} goals." in PAGE


def test_the_engine_keeps_its_bars() -> None:
    for name in ("builtin", "official"):
        assert all(RESULTS[name]["median_ms"][part] <= bar for part, bar in RESULTS["bars_ms"].items())
