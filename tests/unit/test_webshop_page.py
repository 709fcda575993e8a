"""docs/webshop.md names every setting, and its figures are the measured ones."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from himac.envs.webshop.benchmark import WebShopBenchmark

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "webshop.md").read_text(encoding="utf-8")
RESULTS, MILLION = (
    json.loads((ROOT / "benchmarks" / "results" / f"webshop_{name}.json").read_text(encoding="utf-8"))
    for name in ("engine", "million")
)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_settings_are_those_of_the_benchmark() -> None:
    table = PAGE.split("## Settings")[1].split("## Products")[0]
    named = dict(row[:2] for row in rows("\n".join(line for line in table.splitlines() if line.startswith("| `"))))
    assert named == {name: str(p.default) for name, p in inspect.signature(WebShopBenchmark).parameters.items()}


def test_the_figures_of_the_customers_are_those_measured() -> None:
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith(("| builtin ", "| official ")))
    expected = []
    for name in ("builtin", "official"):
        test, held_out = RESULTS[name], RESULTS[name]["eval"]
        for split, runs, split_hash in (("test", test, test["test_hash"]), ("eval", held_out, held_out["hash"])):
            for rules, run in runs["customer"].items():
                first = runs["first_hit"][rules]
                assert run["tagger"] == first["tagger"] == "textblob"
                figures = (*(run[key] for key in ("score", "success", "mean_steps")), first["score"], first["success"])
                expected.append([name, split, rules, *map(str, figures), split_hash[:12]])
    assert rows(table) == expected
    first = RESULTS["official"]["first_hit"]["default"]
    assert f"{first['target_first']} %, and one of the first page's in {first['target_on_page_1']} %" in PAGE


def test_the_figures_of_the_catalogue_are_those_measured() -> None:
    builtin = RESULTS["builtin"]
    assert f"{builtin['products']} products of 40 kinds in five" in PAGE
    assert f"departments, {builtin['goals']} goals." in PAGE


def test_the_engine_keeps_its_bars() -> None:
    for name in ("builtin", "official"):
        assert all(RESULTS[name]["median_ms"][part] <= bar for part, bar in RESULTS["bars_ms"].items())


def test_the_figures_of_a_million_products_are_those_measured() -> None:
    build, after = MILLION["build"], MILLION["after_queries"]
    speeds = [
        "median {median:.1f} ms, p95 {p95:.1f} ms, largest {max:.1f} ms".format(**MILLION[f"{clock}_ms"])
        for clock in ("cpu", "wall")
    ]
    assert rows(PAGE.split("## A million products")[1].split("|---|---|\n")[1].split("\n\n")[0]) == [
        ["build, once", f"{build['cpu_s']:.0f} s of CPU time, {build['wall_s']:.0f} s passed"],
        ["peak memory of the build", f"{build['peak_rss_mb']:.0f} MB"],
        ["input files, cache", f"{MILLION['input_mb']:.0f} MB, {MILLION['disk_mb']:.0f} MB"],
        ["opening the cache", f"{MILLION['open']['wall_s'] * 1e3:.0f} ms"],
        ["own memory of a process, after 300 searches", f"{after['anonymous_mb']:.0f} MB"],
        ["mapped files, shared by all processes, after 300 searches", f"{after['mapped_mb']:.0f} MB"],
        ["search with an instruction, CPU time", speeds[0]],
        ["search with an instruction, time passed", speeds[1]],
    ]
    assert build["products"] == 1_000_000
    assert MILLION["queries"] == 300
    assert MILLION["wall_ms"]["median"] < MILLION["bar_ms"]


def test_the_figures_of_the_lists_are_those_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "webshop_list.json").read_text(encoding="utf-8"))
    section = PAGE.split("## Shopping lists")[1].split("## A small model")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    expected = []
    for count, one in results.items():
        assert one["tagger"] == "textblob"
        figures = [one[key] for key in ("success", "mean_steps", "max_steps", "step_limit")]
        lengths = [f"{one[kind]['mean']} / {one[kind]['max']}" for kind in ("planner", "executor", "flat", "hiper")]
        expected.append([count, *map(str, figures), *lengths, one["split_hash"][:12]])
    assert rows("\n".join(table)) == expected
