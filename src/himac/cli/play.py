"""`himac play`: one episode in the terminal, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from himac.cli.console import console
from himac.config import load_config
from himac.errors import ConfigError
from himac.evaluate import evaluate
from himac.rollout.runtime import build_benchmark, build_runtime
from himac.types import Task


def play_command(
    config_path: Path,
    overrides: Sequence[str],
    model: Path | None,
    split: str | None,
    task_id: str | None,
    delay: float,
) -> None:
    """Run one greedy episode and show blueprint, active sub-goal, actions and observations."""
    config = load_config(config_path, overrides)
    benchmark = build_benchmark(config)
    tasks = benchmark.tasks(split or config.env.eval_split)
    task = _pick(tasks, task_id)
    with build_runtime(config, str(model) if model else None, 4, benchmark) as runtime:
        episode = evaluate(runtime, [task], seed=config.seed)[0]
    console.print(f"[bold]task[/] {task.id} ({task.kind})")
    if episode.blueprint is not None:
        console.print(
            "[bold]blueprint[/]" if episode.blueprint.valid else f"[bold]blueprint[/] {episode.blueprint.malformed}"
        )
        for number, goal in enumerate(episode.blueprint.subgoals, 1):
            console.print(f"  {number}. {goal}", markup=False)
    for segment in episode.segments:
        if segment.subgoal is not None:
            console.rule(segment.subgoal, align="left")
        for turn in segment.turns:
            time.sleep(delay)
            if turn.action is not None:
                console.print(f"> {turn.action}", style="cyan", markup=False)
                console.print(f"  {turn.observation}", style="red" if turn.invalid else "", markup=False)
            if turn.sub_done:
                console.print("<sub_done>", style="green", markup=False)
    style = "green" if episode.success else "red"
    console.print(f"{episode.stop} after {episode.env_steps} steps, return {episode.ret:.1f}", style=style)


def _pick(tasks: Sequence[Task], task_id: str | None) -> Task:
    if task_id is None:
        return tasks[0]
    if task_id.isdigit() and int(task_id) < len(tasks):
        return tasks[int(task_id)]
    for task in tasks:
        if task.id == task_id:
            return task
    raise ConfigError(f"no task '{task_id}' in this split of {len(tasks)}; give an id or a number below {len(tasks)}")
