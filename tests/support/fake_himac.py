"""Stands for the command line in tests of the scheduler: writes what `himac` would, at once and without a model.

The evaluation of a trained cell is named `task/method/seed-N/final` and appended to `finals.jsonl`.

`behaviour.json` beside this file maps names (`task/method/seed-N`, `task/init-model`, ...) to `fail`, or to `hang` or
`die` after the configuration is written, or to `unanswered`: an endpoint that left half of the tasks alone. Every call
is appended to `calls.jsonl`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    command, config, *options = sys.argv[1:]
    here = Path(__file__).parent
    named = Path(config).with_suffix("").parts
    name = "/".join(named[-3:]) if command in ("train", "eval") else f"{named[-2]}/{command}"
    final = command == "eval" and Path(config).is_dir()
    name += "/final" if final else ""
    with (here / ("finals.jsonl" if final else "calls.jsonl")).open("a") as calls:
        calls.write(json.dumps({"name": name, "command": command, "options": options, "pid": os.getpid()}) + "\n")
    behaviour = json.loads((here / "behaviour.json").read_text()).get(name, "")
    print("working", flush=True)
    if behaviour == "fail":
        print("error: the toy broke; mend it", file=sys.stderr)
        sys.exit(7)
    if command in ("init-model", "warmstart"):
        Path(options[0]).mkdir()
        return
    if final:
        assert options == []
        write_final(Path(config), int(named[-1][-1]))
        return
    run = Path(options[1])
    run.mkdir(parents=True, exist_ok=True)
    if command == "train":
        assert ("--resume" in options) == (run / "config.yaml").exists(), options
        shutil.copy(config, run / "config.yaml")
        if named[-1] != "seed-1":  # a run of an older version
            torch = {"capability": "AVX2", "threads": 1}
            machine = {"processor": "Abacus", "architecture": "wood", "cores": 2, "torch": torch}
            (run / "environment.json").write_text(json.dumps({"machine": machine}))
    else:
        assert ("--resume" in options) == (run / "evaluation.json").exists(), options
        (run / "evaluation.json").touch()
    if behaviour == "hang":
        time.sleep(600)
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    write(run, command, int(name[-1]), {"stop/engine_error": 0.5} if behaviour == "unanswered" else {})


def write(run: Path, command: str, seed: int, more: dict[str, float]) -> None:
    """Two tasks; the second is solved after training, the first by odd seeds only."""
    results = [
        {"task_id": task, "kind": kind, "split_hash": "h", "success": success}
        for task, kind, success in (("a", "pick", seed % 2 == 1), ("b", "heat", True))
    ]
    figures = {"success": 0.5 + 0.5 * (seed % 2), "success/pick": float(seed % 2), "success/heat": 1.0} | more
    if command == "eval":
        (run / "summary.json").write_text(json.dumps(figures))
        folder = run
    else:
        before = {"kind": "eval", "iteration": 0, "env_steps": 0, "tokens": 0, "success": 0.0, "success/pick": 0.0}
        step = {"kind": "train", "iteration": 0, "env_steps": 110, "tokens": 40, "success": 0.5, "optimizer_steps": 2.0}
        after = {"kind": "eval", "iteration": 1, "env_steps": 110, "tokens": 40, "plan_validity": 0.75} | figures
        _lines(run / "metrics.jsonl", [before, step, after])
        phase = {"phase": "flat", "total_s": 10.0, "engine_s": 5.0, "env_s": 1.0, "update_s": 3.0, "rest_s": 1.0}
        _lines(run / "timings.jsonl", [{"phase": "eval", "total_s": 2.0}, phase, {"phase": "eval", "total_s": 4.0}])
        (run / "checkpoints").mkdir(exist_ok=True)
        (run / "checkpoints" / "latest").write_text("step-000001-0\n")
        for folder in (run / "eval" / "iteration-000000", run / "eval" / "iteration-000001"):
            folder.mkdir(parents=True, exist_ok=True)
            _lines(folder / "results.jsonl", [line | {"success": False} for line in results])
    _lines(folder / "results.jsonl", results)


def write_final(run: Path, seed: int) -> None:
    """Sampled three times; the first task is solved by odd seeds, the second one in two of three repeats."""
    odd = seed % 2 == 1
    solved = [("a", odd), ("b", True), ("a", odd), ("b", True), ("a", odd), ("b", False)]
    folder = run / "eval" / "step-000001-0"
    folder.mkdir(parents=True)
    greedy = {"success": 0.25, "temperature": 0.0}
    shares = {"success": (odd + 2 / 3) / 2, "success_std": 0.125, "success/pick": float(odd), "success/heat": 2 / 3}
    summary = shares | {"temperature": 0.4, "repeats": 3, "greedy": greedy, "plan_validity": 0.25}
    (folder / "summary.json").write_text(json.dumps(summary))
    _lines(folder / "results.jsonl", [{"task_id": task, "split_hash": "h", "success": won} for task, won in solved])


def _lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
