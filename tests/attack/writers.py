"""Two trainings in one run directory."""

from __future__ import annotations

import functools
import json
import random
import shutil
import tempfile
import time
from pathlib import Path

import yaml

from support.cli import Cli

_CONFIG = {
    "seed": 3,
    "threads": 1,
    "init": {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1, "max_position": 512},
    "env": {"name": "alfworld", "kwargs": {"data": "builtin:small"}, "step_limit": 3},
    "agent": {"max_context": 512, "planner": {"max_tokens": 96}, "executor": {"max_tokens": 20}},
    "algo": {"name": "himac", "tasks": 2, "num_blueprints": 2, "num_rollouts": 2},
    "train": {"iterations": 2, "checkpoint_every": 1, "eval_every": 1, "eval_tasks": 2},
}


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="himac-attack-writers-"))
    (folder / "c.yaml").write_text(yaml.safe_dump(_CONFIG))
    done = Cli(folder).run("init-model", "c.yaml", "init", "init.tokenizer_games=4")
    assert done.code == 0, done.err
    return folder


def two(number: int, folder: Path) -> str | None:
    """One trains; another one begins at the same time, a little later, or resumes while the first is at work."""
    rng, made = random.Random(number), _made()
    cli, run = Cli(folder), folder / "run"
    command = ("train", made / "c.yaml", "--model", made / "init", "--run-dir", run)
    first = cli.start(*command)
    resumes = number % 2 == 0
    if resumes:
        first.when(lambda: (run / "config.yaml").exists())
    time.sleep(rng.choice((0.0, 0.05, 0.5)))
    second = cli.run(*command, *(["--resume"] if resumes else []))
    ended = first.wait()
    codes = sorted((ended.code, second.code))
    if codes[0] != 0 or codes[1] == 0:
        return f"the codes were {codes}: {ended.err[-200:]} {second.err[-200:]}"
    loser = second if second.code else ended
    if len(loser.errors) != 1 or "Traceback" in loser.err:
        return f"no one sentence: {loser.err[-300:]}"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    order = [(line["iteration"], line["phase"]) for line in lines]
    if len(set(order)) != len(order) or len(order) != 7:
        return f"the lines are those of two runs: {order}"
    shutil.rmtree(run)
    return None
