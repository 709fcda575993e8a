"""`himac eval`: every task of a split once, with per-task results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from himac.cli.console import console, percent, progress_bar
from himac.config import load_config
from himac.errors import ConfigError
from himac.evaluate import BlueprintSource, evaluate, summarise, write_results
from himac.rollout.runtime import build_benchmark, build_runtime
from himac.seeding import derive_seed
from himac.train.atomic import WriteGuard, write_text
from himac.types import Episode

SOURCES = ("planner", "random", "none")


def evaluate_command(
    config_path: Path,
    output: Path,
    overrides: Sequence[str],
    model: Path | None,
    split: str | None,
    limit: int | None,
    blueprints: str,
    planner_model: Path | None,
) -> None:
    """Evaluate and write `results.jsonl` (one line a task and repeat) and `summary.json`."""
    if blueprints not in SOURCES:
        raise ConfigError(f"--blueprints must be one of {', '.join(SOURCES)}, not '{blueprints}'")
    config = load_config(config_path, overrides)
    if planner_model is not None and blueprints != "planner":
        raise ConfigError(f"--planner-model writes no blueprint with --blueprints {blueprints}; give one of the two")
    if config.agent.name == "flat" and (planner_model is not None or blueprints != "planner"):
        raise ConfigError("a flat agent follows no blueprint; leave out --blueprints and --planner-model")
    benchmark = build_benchmark(config)
    split = split or config.env.eval_split
    if split not in benchmark.splits():
        raise ConfigError(
            f"benchmark '{config.env.name}' has no split '{split}'; choose one of {', '.join(benchmark.splits())}"
        )
    tasks = benchmark.tasks(split)[:limit]
    with ExitStack() as stack:
        live = config.eval.max_live
        runtime = stack.enter_context(build_runtime(config, str(model) if model else None, live, benchmark))
        planner = None
        if planner_model is not None:
            planner = stack.enter_context(build_runtime(config, str(planner_model), live, benchmark))
        rounds = list[list[Episode]]()
        with progress_bar() as bar:
            task = bar.add_task(f"eval {split}", total=len(tasks) * config.eval.repeats, note="")

            def tick(result: Any) -> None:
                if isinstance(result, Episode):
                    bar.advance(task)

            for repeat in range(config.eval.repeats):
                rounds.append(
                    evaluate(
                        runtime,
                        tasks,
                        temperature=config.eval.temperature,
                        seed=derive_seed(config.seed, "repeat", repeat) if repeat else config.seed,
                        blueprints=cast("BlueprintSource", blueprints),
                        planner=planner,
                        planner_temperature=config.agent.planner.temperature if planner is not None else None,
                        on_result=tick,
                    )
                )
    episodes = [episode for done in rounds for episode in done]
    split_hash = benchmark.split_hash(split)
    summary: dict[str, Any] = summarise(episodes)
    successes = [summarise(done)["success"] for done in rounds]
    summary |= {
        "split": split,
        "split_hash": split_hash,
        "tasks": len(tasks),
        "repeats": len(rounds),
        "temperature": config.eval.temperature,
        "success_std": statistics.stdev(successes) if len(successes) > 1 else 0.0,
        "blueprints": blueprints if planner_model is None else f"planner {planner_model}",
        "model": str(model or config.model.path),
    }
    write_results(output / "results.jsonl", episodes, split_hash)
    with WriteGuard(f"summary {output / 'summary.json'}"):
        write_text(output / "summary.json", json.dumps(summary, indent=2))
    for key in sorted(key for key in summary if key.startswith("success/")):
        console.print(f"{key.removeprefix('success/'):40s} {percent(summary[key])}")
    console.print(f"{'all':40s} {percent(summary['success'])}  ({len(tasks)} tasks, split {split} {split_hash[:12]})")
