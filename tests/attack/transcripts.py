"""What runs, evaluations and benchmarks leave behind, changed by a stranger and read by reports and reruns."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from attack.hostile import bent, files, held, scrambled
from himac.bench.publish import publish
from himac.config import Config
from himac.errors import HimacError
from himac.evaluation.plan import Plan
from himac.evaluation.records import trial_of
from himac.evaluation.resumable import Journal, _summary
from himac.report.curves import draw_curves
from himac.report.summary import summarise_run
from himac.report.web import page_of
from himac.types import Task

_USAGE = {"requests": 1, "prompt_tokens": 2, "completion_tokens": 3}
_TURN = {
    "subgoal": "g",
    "action": "look",
    "observation": "a room",
    "sub_done": False,
    "invalid": False,
    "reply": "look",
}
_RESULT = {
    "task_id": "t1",
    "kind": "pick",
    "split_hash": "h",
    "success": True,
    "return": 1.0,
    "score": 0.5,
    "stop": "success",
    "env_steps": 3,
    "blueprint": ["a", "b"],
    "transcript": [_TURN, _TURN | {"action": None, "sub_done": True}],
    "repeat": 0,
    "trials": 1,
    "env_steps_all": 3,
    "reflections": [],
    "usage": _USAGE,
    "lost": _USAGE,
    "plan": "1. a",
}
_TRIAL = _RESULT | {"trial": 0, "instruction": "do it", "opening": "a room", "reflection": None, "success": False}
_EVAL = {"kind": "eval", "iteration": 0, "phase": "eval", "env_steps": 0, "tokens": 0, "success": 0.1, "tasks": 2}
_METRICS = [
    _EVAL | {"success/pick": 0.2, "stop/success": 0.1},
    {
        "kind": "train",
        "iteration": 0,
        "phase": "macro",
        "env_steps": 50,
        "tokens": 9,
        "success": 0.2,
        "plan_validity": 1.0,
    },
    _EVAL | {"iteration": 1, "env_steps": 60, "success": 0.3, "success/pick": 0.3, "stop/success": 0.3},
]
_RECORDED: dict[str, Any] = {
    "iteration": 0,
    "phase": "macro",
    "group": "a0/0",
    "member": 0,
    "contexts": [{"role": "planner", "subgoal": None, "tokens": 3, "pieces": [["go", 2], ["on", -0.5, None]]}],
}
_TIMING = {
    "iteration": 0,
    "phase": "macro",
    "total_s": 3.0,
    "engine_s": 1.0,
    "env_s": 1.0,
    "update_s": 0.5,
    "rest_s": 0.5,
}
_CELL = {"cell": "small/grpo/seed-0", "task": "small", "method": "grpo", "seed": 0, "kind": "train", "config": "x",
         "budget": 50, "code": 0, "seconds": 1.0, "error": ""}  # fmt: skip
_MACHINE = {"processor": "p", "architecture": "a", "cores": 2, "torch": {"capability": "AVX2", "threads": 1}}
_MATRIX = {
    "base": "base.yaml",
    "methods": {"grpo": {}, "react": {"kind": "eval"}},
    "tasks": {"small": {}},
    "env_steps": 50,
}


def _put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = content if isinstance(content, list) and path.suffix == ".jsonl" else [content]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _run_folder(run: Path) -> None:
    _put(run / "metrics.jsonl", _METRICS)
    _put(run / "timings.jsonl", [_TIMING, _TIMING | {"phase": "eval"}])
    (run / "config.yaml").write_text("seed: 1\nenv: {name: alfworld}\n")
    _put(run / "environment.json", {"machine": _MACHINE})
    _put(run / "episodes.jsonl", [_RESULT | _RECORDED])
    for iteration in (0, 1):
        _put(run / "eval" / f"iteration-00000{iteration}" / "results.jsonl", [_RESULT, _RESULT | {"task_id": "t2"}])


def _change(path: Path, rng: random.Random) -> None:
    text = path.read_bytes()
    if path.suffix == ".yaml" or rng.random() < 0.3:
        path.write_bytes(scrambled(text, rng))
        return
    if path.suffix == ".json":
        _put(path, bent(json.loads(text), rng))
        return
    lines = [json.loads(line) for line in text.decode().splitlines()]
    at = rng.randrange(len(lines))
    lines[at] = bent(lines[at], rng)
    _put(path, lines)


def reports(number: int, folder: Path) -> str | None:
    rng, run = random.Random(number), folder / "run"
    _run_folder(run)
    _change(rng.choice(sorted(path for path in run.rglob("*.*") if path.is_file())), rng)
    before = files(folder)

    def read() -> None:
        summarise_run(run)
        page_of([run], "run")
        if number % 10 == 0:
            draw_curves(run / "metrics.jsonl", folder / "curve.png")

    said = held(read)
    changed = {name for name, content in before.items() if files(folder).get(name) != content}
    return f"reading changed {changed}" if changed else said


def tables(number: int, folder: Path) -> str | None:
    rng, output = random.Random(number), folder / "out"
    evaluated = _CELL | {"cell": "small/react/seed-0", "method": "react", "kind": "eval", "budget": None}
    _run_folder(output / "runs" / "small" / "grpo" / "seed-0")
    _put(output / "runs" / "small" / "react" / "seed-0" / "summary.json", {"success": 0.5, "success/pick": 0.5})
    _put(output / "runs" / "small" / "react" / "seed-0" / "results.jsonl", [_RESULT])
    _put(output / "cells.jsonl", [_CELL, evaluated])
    (output / "matrix.yaml").write_text(yaml.safe_dump(_MATRIX))
    (output / "base.yaml").write_text("seed: 1\n")
    if number % 8 == 0:  # a name that leads out of the folder
        _run_folder(folder / "elsewhere" / "m" / "seed-0")
        (output / "runs" / "x").mkdir()
        _put(output / "cells.jsonl", [_CELL | {"task": "x/../../../elsewhere", "method": "m"}])
    else:
        _change(rng.choice(sorted(path for path in output.rglob("*.*") if path.is_file())), rng)
    said = held(lambda: publish(output))
    outside = folder.parent / "elsewhere.png"
    if outside.exists():
        outside.unlink()
        return "a picture was written outside"
    return said


def reruns(number: int, folder: Path) -> str | None:
    rng, output = random.Random(number), folder / "out"
    config = Config()
    plan = Plan("valid", "h", [Task("t1", "pick"), Task("t2", "pick")], 1, 0.0, 0)
    journal = Journal(output, config, plan, resume=False)
    journal.finish(_RESULT)
    journal.finish(_RESULT | {"task_id": "t2"})
    journal.keep(_TRIAL)
    _change(rng.choice(sorted(output.glob("*.json*"))), rng)
    before = files(output)

    def read() -> None:
        again = Journal(output, config, plan, resume=True)
        for lines in again.trials.values():
            for line in lines.values():
                trial_of(line, plan.tasks[0])
        _summary([line for key, line in again.results.items() if key[0] in ("t1", "t2")], plan, config)

    said = held(read)
    try:
        Journal(output, config, plan, resume=True)
    except HimacError:
        lost = {name for name in before if name not in files(output)}
        return f"a refused rerun removed {lost}" if lost else said
    except Exception:
        return said
    return said
