"""Run directories made by hand: the files that reports read, with figures that are easy to derive."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def told(task: str, kind: str = "pick", success: bool = False, observation: str = "You see it.", **more: Any) -> Record:
    """A line of `results.jsonl` of two sub-goals with a turn each."""
    turns = [
        {"subgoal": "take mug", "action": f"take mug {task}", "observation": observation, "reward": -0.5},
        {"subgoal": "put mug", "action": None, "observation": "", "reward": 0.0},
    ]
    line = {"task_id": task, "kind": kind, "split_hash": "abc", "success": success, "return": 1.5, "env_steps": 1}
    stop = {"stop": "success" if success else "step_limit", "blueprint": ["take mug", "put mug"]}
    return line | stop | {"transcript": [turn | {"sub_done": True, "invalid": False} for turn in turns]} | more


def recorded(iteration: int, group: str, member: int, **more: Any) -> Record:
    """A line of `episodes.jsonl`: a given piece of two tokens, a trained one and one that was only sampled."""
    pieces = [["Task: mug", 2], [" take", -0.25, 0.5], [" mug", -2.0, None]]
    place = {"iteration": iteration, "phase": "macro", "group": group, "member": member}
    contexts = [{"role": "planner", "subgoal": None, "tokens": 4, "pieces": pieces}]
    return told(f"train-{group}", observation=f"member {member}") | place | {"contexts": contexts} | more


def metric(kind: str, iteration: int, phase: str, env_steps: int, success: float, **more: float) -> Record:
    place = {"kind": kind, "iteration": iteration, "phase": phase, "env_steps": env_steps, "tokens": 10 * env_steps}
    return place | {"success": success} | more


def make_run(folder: Path, seed: int = 0, lr: float = 0.1, gain: float = 0.5) -> Path:
    """Two iterations of one phase, an evaluation before and after, and a recorded group of two."""
    folder.mkdir(parents=True)
    config = f"seed: {seed}\nenv: {{eval_split: valid, train_split: train}}\ntrain: {{learner: {{lr: {lr}}}}}\n"
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    lines = [
        metric("eval", 0, "eval", 0, 0.0, **{"stop/step_limit": 1.0, "success/pick": 0.0}),
        metric("train", 0, "macro", 100, 0.25, entropy=1.0, degenerate_fraction=0.5),
        metric("train", 1, "macro", 200, 0.5, entropy=0.5, degenerate_fraction=0.25),
        metric("eval", 2, "eval", 200, gain, **{"stop/step_limit": 1 - gain, "success/pick": gain}),
    ]
    write_lines(folder / "metrics.jsonl", lines)
    spent = {"engine_s": 6.0, "env_s": 2.0, "update_s": 1.0, "rest_s": 1.0}
    timings = [
        {"iteration": 0, "phase": "eval", "total_s": 5.0},
        *({"iteration": n, "phase": "macro", "total_s": 10.0} | spent for n in range(2)),
        {"iteration": 2, "phase": "eval", "total_s": 5.0},
    ]
    write_lines(folder / "timings.jsonl", timings)
    before = [told("a"), told("b", "look")]
    after = [told("a", success=True, blueprint=["take mug", "check mug", "put mug"]), told("b", "look")]
    write_lines(folder / "eval" / "iteration-000000" / "results.jsonl", before)
    write_lines(folder / "eval" / "iteration-000002" / "results.jsonl", after)
    write_lines(folder / "episodes.jsonl", [recorded(1, "a1/0", member) for member in range(2)])
    return folder
