"""`himac eval`: every task once, the same result every time, on tasks that were never trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from himac.config_file import load_config
from himac.rollout.runtime import build_benchmark
from support.cli import Cli


def test_every_task_once_and_reproducible(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    limit = 12
    for output in ("one", "two"):
        args = ("eval", tiny_yaml, "--model", tiny_model, "--output", output, "--limit", str(limit))
        done = cli.run(*args, *(["eval.max_live=5"] if output == "two" else []))
        assert done.code == 0, done.err
        assert done.err == ""
    one, two = ((cli.folder / name / "results.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two, "the result depends on how many episodes run at once"
    assert (cli.folder / "one" / "summary.json").read_bytes() == (cli.folder / "two" / "summary.json").read_bytes()

    benchmark = build_benchmark(load_config(tiny_yaml))
    results = [json.loads(line) for line in one.splitlines()]
    assert [result["task_id"] for result in results] == [task.id for task in benchmark.tasks("valid")[:limit]]
    assert {result["split_hash"] for result in results} == {benchmark.split_hash("valid")}
    summary = json.loads((cli.folder / "one" / "summary.json").read_text(encoding="utf-8"))
    assert summary["split_hash"] == benchmark.split_hash("valid")
    assert summary["tasks"] == limit
    assert summary["success"] == pytest.approx(sum(result["success"] for result in results) / limit)
    assert any(result["env_steps"] for result in results)
    for result in results:
        assert result["env_steps"] == sum(turn["action"] is not None for turn in result["transcript"])


def test_results_are_replaced_only_when_asked(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    def run(*args: str) -> str:
        done = cli.run("eval", tiny_yaml, "--model", tiny_model, "--output", "out", "--limit", "2", *args)
        assert (done.code, "choose another --output, or replace them with --overwrite" in done.err) in (
            (0, False),
            (5, True),
        )
        return (cli.folder / "out" / "summary.json").read_text(encoding="utf-8")

    hot = ("eval.temperature=1.0", "seed=9")
    first = run()
    assert run(*hot) == first
    assert json.loads(run(*hot, "--overwrite"))["temperature"] == 1.0


def test_repeats_and_other_blueprints(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    start = ("eval", tiny_yaml, "--model", tiny_model, "--limit", "3", "--output")
    assert cli.run(*start, "hot", "eval.repeats=2", "eval.temperature=1.0", "--blueprints", "none").code == 0
    results = [json.loads(line) for line in (cli.folder / "hot" / "results.jsonl").open(encoding="utf-8")]
    assert len(results) == 6
    assert {results[n]["task_id"] for n in range(3)} == {results[n]["task_id"] for n in range(3, 6)}
    assert [r["transcript"] for r in results[:3]] != [r["transcript"] for r in results[3:]], "repeats must differ"
    assert all(len(result["blueprint"]) == 1 for result in results)


def test_train_and_valid_are_disjoint(tiny_yaml: Path) -> None:
    for size in ("small", "medium", "large"):
        benchmark = build_benchmark(load_config(tiny_yaml, [f"env.kwargs.data=builtin:{size}"]))
        train, valid = ({task.id for task in benchmark.tasks(split)} for split in ("train", "valid"))
        assert train
        assert valid
        assert not train & valid
        assert benchmark.split_hash("train") != benchmark.split_hash("valid")
