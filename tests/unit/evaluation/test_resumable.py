"""Evaluations through an endpoint: one line at once for everything that was paid for, and nothing is paid for twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from himac.config import Config
from himac.config_file import load_config
from himac.errors import CheckpointError, EndpointError
from himac.evaluation.plan import Plan
from himac.evaluation.records import Record
from himac.evaluation.resumable import evaluate_resumable
from himac.report.results import read_jsonl
from himac.rollout.runtime import build_runtime
from support.chat_server import Answer, Body, ChatServer, Raw, chat, refusal, said
from support.toy import ColourBenchmark, ColourEnv

BENCHMARK = ColourBenchmark()
TASKS = BENCHMARK.tasks("valid")


def settings(url: str, *overrides: str) -> Config:
    common = ["engine.name=openai", "engine.model=m", f"engine.base_url={url}", "engine.max_tries=1"]
    return load_config(None, [*common, "agent.name=react", "env.step_limit=3", "eval.max_live=2", *overrides])


def plan(count: int = 4, **changes: Any) -> Plan:
    return Plan(**{"split": "valid", "split_hash": "toy", "tasks": TASKS[:count], "repeats": 1, "temperature": 0.0,
                   "seed": 0} | changes)  # fmt: skip


def run(config: Config, output: Path, what: Plan | None = None, **more: Any) -> tuple[list[Record], dict[str, Any]]:
    with build_runtime(config, None, config.eval.max_live, BENCHMARK) as runtime:
        return evaluate_resumable(runtime, what or plan(), output, **more)


def task_of(body: Body) -> str:
    """The task's words, which stand in the first message."""
    words: str = said(body).split("Task: ")[1].split("\n")[0]
    return words


def solver(body: Body, number: int) -> Raw | str:
    """Says the colours of the task, the first one `red-...` never."""
    first, second = task_of(body).split()
    if "went wrong" in said(body):
        return "Say the colours."
    if first == "red":
        return "Thought: no idea\nAction: green"
    return f"Thought: yes\nAction: {second if f'you said {first}' in said(body) else first}"


def by_task(answers: dict[str, Callable[[Body, int], Raw | str]]) -> Answer:
    return lambda body, number: answers.get(task_of(body), solver)(body, number)


def test_lines_and_summary(tmp_path: Path) -> None:
    with ChatServer(solver) as server:
        config = settings(server.url, "engine.price_in=1000", "engine.price_out=10000")
        seen: list[str] = []
        lines, summary = run(config, tmp_path, plan(12), on_task=lambda line: seen.append(line["task_id"]))
    assert [line["task_id"] for line in lines] == [task.id for task in TASKS]
    assert read_jsonl(tmp_path / "results.jsonl") == lines
    assert sorted(seen) == [task.id for task in TASKS]
    failed = [line for line in lines if line["task_id"].startswith("red")]
    assert [line["stop"] for line in failed] == ["step_limit"] * 3
    assert all(line["success"] for line in lines if line not in failed)
    assert failed[0]["usage"] == {"requests": 3, "prompt_tokens": 30, "completion_tokens": 9}
    assert failed[0]["transcript"][0] == {
        "subgoal": None,
        "action": "green",
        "observation": "you said green",
        "reward": 0.0,
        "sub_done": False,
        "invalid": False,
        "reply": "Thought: no idea\nAction: green",
    }
    # Nine tasks of two requests and three of three, each of 10 + 3 tokens.
    assert summary["success"] == 0.75
    assert (summary["requests"], summary["prompt_tokens"], summary["completion_tokens"]) == (27, 270, 81)
    assert summary["cost"] == pytest.approx((270 * 1000 + 81 * 10000) / 1e6)
    assert summary["env_steps_all"] == 27
    assert len(server.bodies) == 27


def test_the_benchmarks_own_score_reaches_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = ColourEnv.step

    def scored(env: ColourEnv, action: str) -> Any:
        *answer, info = step(env, action)
        return *answer, info | {"score": 30.0 * len(env.said)}

    monkeypatch.setattr(ColourEnv, "step", scored)
    with ChatServer(solver) as server:
        lines, summary = run(settings(server.url), tmp_path)
        assert summary["score"] == sum(line["score"] for line in lines) / len(lines) == 60.0
        assert run(settings(server.url), tmp_path, resume=True)[1]["score"] == 60.0


def test_every_line_is_on_disk_when_its_task_is_over(tmp_path: Path) -> None:
    counts: list[tuple[int, int]] = []
    seen: list[str] = []

    def tick(line: Record) -> None:
        seen.append(line["task_id"])
        counts.append((len(seen), len(read_jsonl(tmp_path / "results.jsonl"))))

    with ChatServer(solver) as server:
        run(settings(server.url), tmp_path, plan(6), on_task=tick)
    assert counts == [(n, n) for n in range(1, 7)]


def test_a_key_that_is_refused_midway_and_the_rerun(tmp_path: Path) -> None:
    with ChatServer(lambda body, n: solver(body, n) if n < 12 else refusal(401)) as server:
        config = settings(server.url)
        with pytest.raises(EndpointError, match="--resume"):
            run(config, tmp_path, plan(12))
        finished = {line["task_id"]: line for line in read_jsonl(tmp_path / "results.jsonl")}
        assert 0 < len(finished) < 12
        asked_before = len(server.bodies)
        with pytest.raises(CheckpointError, match="holds results; continue them with --resume"):
            run(config, tmp_path, plan(12))
        assert len(server.bodies) == asked_before
        server.answer = solver
        lines, summary = run(config, tmp_path, plan(12), resume=True)
    again = {task_of(body).replace(" ", "-") for body in server.bodies[asked_before:]}
    assert not again & set(finished)
    assert again | set(finished) == {task.id for task in TASKS}
    assert [line["task_id"] for line in lines] == [task.id for task in TASKS]
    assert all(line == finished[line["task_id"]] for line in lines if line["task_id"] in finished)
    assert summary["requests"] == 27


def test_tasks_without_an_answer_are_reported_and_played_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(body: Body, number: int) -> Raw | str:
        return refusal(500) if "you said blue" in said(body) else solver(body, number)

    with ChatServer(by_task({"blue red": failing})) as server:
        config = settings(server.url)
        with caplog.at_level(logging.ERROR):
            lines, summary = run(config, tmp_path)
        broken = next(line for line in lines if line["task_id"] == "blue-red")
        assert broken["stop"] == "engine_error"
        assert "HTTP 500" in broken["error"]
        assert broken["usage"]["requests"] == 1  # what was answered is counted, the failed tries are not
        assert summary["stop/engine_error"] == 0.25
        assert "engine_error" in caplog.text
        before = len(server.bodies)
        server.answer = solver
        lines, summary = run(config, tmp_path, resume=True)
    repaired = next(line for line in lines if line["task_id"] == "blue-red")
    assert repaired["success"]
    assert "error" not in repaired
    assert repaired["usage"]["requests"] == 1 + 2  # what the broken attempt cost was paid all the same
    assert {task_of(body) for body in server.bodies[before:]} == {"blue red"}
    assert read_jsonl(tmp_path / "results.jsonl") == lines
    assert "stop/engine_error" not in summary


def test_reflexion_counts_every_trial(tmp_path: Path) -> None:
    with ChatServer(solver) as server:
        config = settings(server.url, "agent.name=reflexion", "agent.prompting.trials=3")
        lines, summary = run(config, tmp_path, plan(12))
    failed = [line for line in lines if line["task_id"].startswith("red")]
    for line in failed:
        assert (line["trials"], line["env_steps"], line["env_steps_all"]) == (3, 3, 9)
        assert line["reflections"] == ["Say the colours."] * 2
        assert line["usage"]["requests"] == 9 + 2
    # Each failed trial but the last is kept twice: at its end, and with its reflection.
    assert len(read_jsonl(tmp_path / "trials.jsonl")) == 3 * 2 * 2
    assert summary["success_by_trial"] == [0.75, 0.75, 0.75]
    assert summary["trials_mean"] == pytest.approx((9 * 1 + 3 * 3) / 12)
    assert summary["requests"] == len(server.bodies) == 9 * 2 + 3 * 11
    assert summary["env_steps_all"] == 9 * 2 + 3 * 9


@pytest.mark.parametrize("stage", ["trial", "reflection"])
def test_finished_trials_are_not_paid_for_twice(tmp_path: Path, stage: str) -> None:
    """The endpoint fails within the second trial, or for the first reflection."""

    def failing(body: Body, number: int) -> Raw | str:
        text = said(body)
        if "went wrong" in text and stage == "reflection":
            return refusal(500)
        if "tried this task before" in text and text.count("you said") == 1 and stage == "trial":
            return refusal(500)
        return solver(body, number)

    task = next(task for task in TASKS if task.id == "red-blue")
    what = plan(tasks=[task])
    with ChatServer(failing) as server:
        config = settings(server.url, "agent.name=reflexion", "agent.prompting.trials=2")
        with pytest.raises(EndpointError, match="repeat them with --resume"):
            run(config, tmp_path, what)
        (broken,) = read_jsonl(tmp_path / "results.jsonl")
        answered = {"trial": 3 + 1 + 1, "reflection": 3}[stage]
        assert (broken["stop"], broken["usage"]["requests"]) == ("engine_error", answered)
        before = len(server.bodies)
        server.answer = solver
        (line,), summary = run(config, tmp_path, what, resume=True)
    needed = {"trial": 3, "reflection": 1 + 3}[stage]
    assert len(server.bodies) - before == needed
    assert line["usage"]["requests"] == summary["requests"] == answered + needed
    assert (line["stop"], line["trials"], line["env_steps_all"]) == ("step_limit", 2, 6)


def test_a_line_that_a_crash_cut_short_is_played_again(tmp_path: Path) -> None:
    with ChatServer(solver) as server:
        config = settings(server.url)
        first, _ = run(config, tmp_path)
        path = tmp_path / "results.jsonl"
        path.write_bytes(path.read_bytes()[:-30])
        before = len(server.bodies)
        lines, _ = run(config, tmp_path, resume=True)
    assert lines == first
    assert {task_of(body).replace(" ", "-") for body in server.bodies[before:]} == {first[-1]["task_id"]}


def test_more_tasks_and_repeats_can_follow(tmp_path: Path) -> None:
    with ChatServer(solver) as server:
        config = settings(server.url)
        run(config, tmp_path, plan(2))
        before = len(server.bodies)
        lines, _ = run(config, tmp_path, plan(3, repeats=2), resume=True)
        assert len(server.bodies) - before == 4 * 2  # one new task, and three tasks a second time
    assert [(line["task_id"], line["repeat"]) for line in lines] == [
        (task.id, repeat) for repeat in range(2) for task in TASKS[:3]
    ]


@pytest.mark.parametrize(
    ("overrides", "changes", "words"),
    [
        (["agent.name=plain"], {}, r"agent\.name \(react -> plain\)"),
        (["engine.model=other"], {}, r"engine\.model"),
        ([], {"split_hash": "another"}, r"split_hash \(toy -> another\)"),
        ([], {"blueprints": "none"}, r"blueprints \(planner -> none\)"),
    ],
)
def test_results_of_different_settings_are_not_mixed(
    tmp_path: Path, overrides: list[str], changes: dict[str, Any], words: str
) -> None:
    with ChatServer(solver) as server:
        run(settings(server.url), tmp_path)
        before = len(server.bodies)
        with pytest.raises(CheckpointError, match=words):
            run(settings(server.url, *overrides), tmp_path, plan(**changes), resume=True)
        run(settings(server.url, "engine.concurrency=2", "engine.max_tries=3"), tmp_path, resume=True)
        assert len(server.bodies) == before


def test_resuming_nothing_and_resuming_rubbish(tmp_path: Path) -> None:
    with ChatServer(solver) as server:
        with pytest.raises(CheckpointError, match="no evaluation to resume"):
            run(settings(server.url), tmp_path, resume=True)
        (tmp_path / "evaluation.json").write_text("[1", encoding="utf-8")
        with pytest.raises(CheckpointError, match="damaged"):
            run(settings(server.url), tmp_path, resume=True)
        assert server.bodies == []


def test_the_key_is_nowhere_in_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    with ChatServer(
        lambda body, n: refusal(500, "sk-secret-value failed") if n % 3 == 0 else solver(body, n)
    ) as server:
        run(settings(server.url), tmp_path)
    assert server.headers[0]["authorization"] == "Bearer sk-secret-value"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not [path.name for path in files if b"sk-secret" in path.read_bytes()]
    assert "***" in (tmp_path / "results.jsonl").read_text(encoding="utf-8")


def test_replies_of_any_text_can_be_kept(tmp_path: Path) -> None:
    odd = "Thought: 🙂 \u2028 \x00 <|himac:end|>\nAction: green"
    with ChatServer(lambda body, n: chat(odd)) as server:
        lines, _ = run(settings(server.url), tmp_path, plan(1))
    assert {turn["reply"] for turn in lines[0]["transcript"]} == {odd}
    assert {turn["action"] for turn in lines[0]["transcript"]} == {"green"}
    assert read_jsonl(tmp_path / "results.jsonl") == lines
