"""`himac eval`: every task once, the same result every time, on tasks that were never trained on."""

from __future__ import annotations

import json
import signal
import statistics
from pathlib import Path

import pytest

from himac.config_file import load_config
from himac.rollout.runtime import build_benchmark
from support.cli import Cli, lines


def test_every_task_once_and_reproducible(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    limit = 12
    for output in ("one", "two"):
        args = ("eval", tiny_yaml, "--model", tiny_model, "--output", output, "--limit", str(limit), "--repeats", "1")
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
        assert (done.code, "choose another --output, replace them with --overwrite" in done.err) in (
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


def files(folder: Path) -> dict[str, bytes]:
    """Of an evaluation, by place."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.json*")
        if path.name in ("results.jsonl", "summary.json")
    }


def test_both_ways_by_default(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    start = ("eval", tiny_yaml, "--model", tiny_model, "--limit", "4", "--output")
    done = cli.run(*start, "both")
    assert done.code == 0, done.err
    assert cli.run(*start, "cold", "--temperature", "0").code == 0
    assert cli.run(*start, "hot", "--temperature", "0.4", "--repeats", "3").code == 0
    both, cold, hot = (files(cli.folder / name) for name in ("both", "cold", "hot"))
    assert set(both) == {"results.jsonl", "summary.json", "greedy/results.jsonl"}
    assert set(cold) == set(hot) == {"results.jsonl", "summary.json"}
    assert both["results.jsonl"] == hot["results.jsonl"]
    assert both["greedy/results.jsonl"] == cold["results.jsonl"]
    assert (both["results.jsonl"].count(b"\n"), cold["results.jsonl"].count(b"\n")) == (12, 4)
    summary, single = json.loads(both["summary.json"]), json.loads(hot["summary.json"])
    greedy = summary.pop("greedy")
    assert summary == single, "the main figures are the sampled ones"
    assert (summary["temperature"], summary["repeats"], greedy["temperature"], greedy["repeats"]) == (0.4, 3, 0.0, 1)
    assert greedy == {key: value for key, value in json.loads(cold["summary.json"]).items() if key in greedy}
    wins = [json.loads(line)["success"] for line in both["results.jsonl"].splitlines()]
    shares = [sum(wins[start : start + 4]) / 4 for start in (0, 4, 8)]
    assert summary["success"] == pytest.approx(sum(shares) / 3)
    assert summary["success_std"] == pytest.approx(statistics.stdev(shares))
    assert "all, T=0.4" in done.out
    assert "over 3 repeats" in done.out
    assert "all, greedy" in done.out


def test_a_killed_evaluation_goes_on_repeat_by_repeat(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    start = ("eval", tiny_yaml, "--model", tiny_model, "--limit", "8", "--output")
    assert cli.run(*start, "whole").code == 0
    out = cli.folder / "out"
    for args, seen in (((), "greedy/results.jsonl"), (("--resume",), "results.jsonl")):
        done = cli.start(*start, "out", *args).when(lambda seen=seen: lines(out / seen) >= 8).send(signal.SIGKILL)  # type: ignore[misc]
        assert done.code == -signal.SIGKILL
        assert not (out / "summary.json").exists()
    kept = (out / "greedy" / "results.jsonl").stat().st_mtime_ns
    for wrong, words in (
        (("--split", "train"), "was started with other settings: split (valid -> train)"),
        (("--limit", "7"), "holds results of other tasks; choose another --output"),
        (("--model", tiny_model.with_name("init")), "was started with other settings: weights ("),
    ):
        done = cli.run(*start, "out", "--resume", *wrong)
        assert (done.code, words in done.err) == (5, True), done.err
    done = cli.run(*start, "out", "--resume")
    assert done.code == 0, done.err
    assert files(out) == files(cli.folder / "whole")
    assert (out / "greedy" / "results.jsonl").stat().st_mtime_ns == kept, "it was over before"


def test_a_run_is_evaluated_where_it_stands(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    """Its own evaluation at that checkpoint is the greedy one: the episodes are the same and are not played again."""
    settings = ("train.iterations=2", "train.eval_every=1", "train.keep_checkpoints=9")
    assert cli.run("train", tiny_yaml, "--run-dir", "run", "--model", tiny_model, *settings).code == 0
    done = cli.run("eval", "run")
    assert done.code == 0, done.err
    last, trained = cli.folder / "run/eval/step-000002-0", cli.folder / "run/eval/iteration-000002/results.jsonl"
    assert (last / "greedy" / "results.jsonl").read_bytes() == trained.read_bytes()
    assert lines(last / "results.jsonl") == 3 * 4, "the four tasks of train.eval_tasks"
    model = "run/checkpoints/step-000002-0"
    elsewhere = ("eval", "run", "--output", "again", "agent.planner.max_subgoals=6", "--model", model)
    assert cli.run(*elsewhere).code == 0
    again = files(cli.folder / "again")
    assert again["greedy/results.jsonl"] == trained.read_bytes(), "played anew, since a setting is another"
    greedy = last / "greedy" / "results.jsonl"
    before = greedy.stat().st_mtime_ns
    assert cli.run("eval", "run").code == 0
    assert lines(last / "results.jsonl") == 12
    assert greedy.stat().st_mtime_ns == before

    best = (cli.folder / "run/checkpoints/best").read_text().strip()
    done = cli.run("eval", "run", "--model", "run/checkpoints/best", "--temperature", "1", "--output", "best")
    assert done.code == 0, done.err
    assert json.loads((cli.folder / "best/summary.json").read_text())["model"] == f"run/checkpoints/{best}"
    assert cli.run("play", "run", "--model", "run/checkpoints/best", "--delay", "0").code == 0


def test_what_is_no_run(cli: Cli, tiny_yaml: Path, tiny_model: Path) -> None:
    (cli.folder / "empty").mkdir()
    (cli.folder / "young").mkdir()
    (cli.folder / "young" / "config.yaml").write_bytes(tiny_yaml.read_bytes())
    for args, code, words in (
        (("eval", "empty"), 2, "empty holds no run (no config.yaml); give a configuration or a directory of"),
        (("eval", "young"), 4, "young/checkpoints/latest names no checkpoint"),
        (("eval", "young", "--model", tiny_model), 2, "give --output DIR"),
        (("eval", tiny_yaml, "--model", tiny_model), 2, "give --output DIR"),
        (("eval", tiny_yaml, "--model", tiny_model, "--output", "o", "--resume"), 5, "o holds no evaluation to resume"),
        (("play", "young", "--model", "young/checkpoints/best"), 4, "young/checkpoints/best names no checkpoint"),
    ):
        done = cli.run(*args)
        assert (done.code, words in done.err) == (code, True), done.err
        assert len(done.errors) == 1


def test_train_and_valid_are_disjoint(tiny_yaml: Path) -> None:
    for size in ("small", "medium", "large"):
        benchmark = build_benchmark(load_config(tiny_yaml, [f"env.kwargs.data=builtin:{size}"]))
        train, valid = ({task.id for task in benchmark.tasks(split)} for split in ("train", "valid"))
        assert train
        assert valid
        assert not train & valid
        assert benchmark.split_hash("train") != benchmark.split_hash("valid")
