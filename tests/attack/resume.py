"""Kill a training run at random moments and resume it: nothing may differ from the run that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from himac.config import WarmstartConfig
from himac.models import loading
from support.order import order_sensitive

KILLS = 5
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["himac.cli.train", "himac.training.trainer", "himac.models.loading", "himac.engines.local.engine", "support.order"]
)
_END_S = 240.0

_BASE: dict[str, Any] = {
    "threads": 1,
    "init": {"vocab_size": 512, "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "max_position": 512}
    | {"tokenizer_games": 8},
    "env": {"name": "support.paying:PayingHousehold", "kwargs": {"data": "builtin:small"}, "step_limit": 8},
    "agent": {
        "max_context": 512,
        "planner": {"max_subgoals": 5, "max_tokens": 96},
        "executor": {"step_limit": 6, "max_tokens": 20},
        "flat": {"max_tokens": 20, "thoughts": False},
        "hiper": {"max_tokens": 64},
    },
    "warmstart": {"games": 20, "passes": 10, "batch_tokens": 1200, "lr": 0.02},
    "train": {"iterations": 2, "checkpoint_every": 1, "checkpoint_phases": True, "eval_every": 1, "eval_tasks": 4}
    | {"max_live": 6, "learner": {"lr": 1e-3, "mini_batches": 2}},
}
_RUNS: tuple[dict[str, Any], ...] = (
    {"algo": {"name": "himac", "tasks": 2, "num_blueprints": 3, "num_rollouts": 3}, "agent": {"name": "hierarchical"}},
    {"algo": {"name": "ppo", "tasks": 2, "group_size": 4, "reward_kl": 0.05}, "agent": {"name": "flat"}},
    {"algo": {"name": "grpo", "tasks": 2, "group_size": 4}, "agent": {"name": "flat"}, "env": {"workers": 2}},
    {"algo": {"name": "hiper", "tasks": 2, "group_size": 4}, "agent": {"name": "hiper"}},
    {
        "algo": {"name": "himac", "tasks": 2, "num_blueprints": 3, "num_rollouts": 3},
        "agent": {"name": "hierarchical"},
        "train": {"rollout_workers": 2},
    },
    {
        "algo": {"name": "himac-plus", "tasks": 2, "num_blueprints": 2, "num_rollouts": 2},
        "agent": {"name": "hierarchical"},
        "train": {"learner": {"lr": 1e-3, "mini_batches": 2, "epochs": 2, "apart": True, "target_kl": 0.02}},
    },
)


def killed_and_resumed(number: int, folder: Path) -> str | None:
    """Up to `KILLS` kills of one run, warm start included; another configuration each time."""
    kind, rng = number % len(_RUNS), random.Random(number)
    config = folder.parent / f"{kind}.yaml"
    whole = folder.parent / f"whole-{kind}"
    clock = folder.parent / f"{kind}.seconds"
    if not clock.exists():
        config.write_text(yaml.safe_dump(_configuration(kind)), encoding="utf-8")
        started = time.monotonic()
        if (code := _train(config, whole, None)) != 0:
            return f"the run itself ended with {code}: {_said(whole)}"
        clock.write_text(str(time.monotonic() - started))
    seconds, run, kills = float(clock.read_text()), folder / "run", list[str]()
    for _ in range(KILLS):
        after = rng.uniform(0.0, 0.5 * seconds)
        code = _train(config, run, after)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            return f"after kills at {', '.join(kills)} s it ended with {code}: {_said(run)}"
        kills.append(f"{after:.2f}")
    else:
        if (code := _train(config, run, None)) != 0:
            return f"after kills at {', '.join(kills)} s it ended with {code}: {_said(run)}"
    expected, found = _content(whole), _content(run)
    different = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    _count(len(kills))
    if different:
        return f"{_RUNS[kind]['algo']['name']}: {', '.join(different)} differ after kills at {', '.join(kills)} s"
    return None


def _configuration(kind: int) -> dict[str, Any]:
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in _BASE.items()}
    for part, settings in _RUNS[kind].items():
        tree[part] = {**tree.get(part, {}), **settings}
    tree["seed"] = 3
    tree["warmstart"]["formats"] = ["hiper"] if tree["agent"]["name"] == "hiper" else ["hierarchical", "flat"]
    if "checkpoint_steps" in WarmstartConfig.model_fields:
        tree["warmstart"]["checkpoint_steps"] = 1
    return tree


def _content(run: Path) -> dict[str, bytes]:
    """What must be equal to the byte."""
    last = run / "checkpoints" / (run / "checkpoints" / "latest").read_text(encoding="utf-8").strip()
    files = (run / "metrics.jsonl", run / "warmstart" / "model.safetensors", last / "model.safetensors")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def _train(config: Path, run: Path, kill_after: float | None) -> int:
    """`himac train`, resumed where there is something to resume; its exit code."""
    resume = ["--resume"] if (run / "config.yaml").exists() else []
    args = ["train", str(config), "--run-dir", str(run), *resume]
    process = _CONTEXT.Process(target=_main, args=(args, str(run)))
    process.start()
    process.join(_END_S if kill_after is None else kill_after)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _main(args: Sequence[str], run: str) -> None:
    out = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["himac", *args]
    loading.load_model = order_sensitive(loading.load_model)
    from himac.cli import main

    main()


def _said(run: Path) -> str:
    log = Path(f"{run}.log")
    return (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"])[-1]


def _count(kills: int) -> None:
    """Kills made so far, for whoever wants the exact number."""
    if path := os.environ.get("HIMAC_ATTACK_KILLS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{kills}\n")
