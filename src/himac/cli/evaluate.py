"""`himac eval`: every task of a split once, with per-task results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from himac.cli.console import console, percent, progress_bar
from himac.config_file import load_config
from himac.engines.openai import OpenAIEngine
from himac.errors import CheckpointError, ConfigError
from himac.evaluate import BlueprintSource, evaluate, repeat_seed, summarise, write_results
from himac.resumable import RESULTS, TRIALS, Plan, evaluate_resumable
from himac.rollout.preflight import check_room, first_task, try_environment
from himac.rollout.runtime import Runtime, build_benchmark, build_runtime, check_model_path
from himac.train.atomic import WriteGuard, write_text
from himac.train.lock import locked
from himac.types import Episode, StopReason

SUMMARY = "summary.json"
SOURCES = ("planner", "random", "none")
Tick = Callable[[Any], None]


def evaluate_command(
    config_path: Path,
    output: Path,
    overrides: Sequence[str],
    model: Path | None,
    split: str | None,
    limit: int | None,
    blueprints: str,
    planner_model: Path | None,
    agent: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Evaluate and write `results.jsonl` (one line a task and repeat) and `summary.json`."""
    if blueprints not in SOURCES:
        raise ConfigError(f"--blueprints must be one of {', '.join(SOURCES)}, not '{blueprints}'")
    config = load_config(config_path, [*overrides, *([f"agent.name={agent}"] if agent else [])])
    if planner_model is not None and blueprints != "planner":
        raise ConfigError(f"--planner-model writes no blueprint with --blueprints {blueprints}; give one of the two")
    if config.agent.name != "hierarchical" and (planner_model is not None or blueprints != "planner"):
        raise ConfigError("a flat agent follows no blueprint; leave out --blueprints and --planner-model")
    streamed = config.engine.name != "local" or config.agent.name == "reflexion"
    if resume and not streamed:
        raise ConfigError("an evaluation with a local model is written as a whole; run it again without --resume")
    if streamed and planner_model is not None:
        raise ConfigError("--planner-model is for local models; leave it out with an endpoint")
    if resume and overwrite:
        raise ConfigError("--resume keeps results and --overwrite replaces them; give one of the two")
    if not (resume or overwrite) and _former(output):
        raise CheckpointError(
            f"{output} holds results of an evaluation; choose another --output, or replace them with --overwrite"
            + (" or continue them with --resume" if streamed else "")
        )
    if config.engine.name == "local":
        for folder in (model or config.model.path, *([planner_model] if planner_model else [])):
            check_model_path(str(folder))
    benchmark = build_benchmark(config)
    split = split or config.env.eval_split
    if split not in benchmark.splits():
        raise ConfigError(
            f"benchmark '{config.env.name}' has no split '{split}'; choose one of {', '.join(benchmark.splits())}"
        )
    plan = Plan(
        split=split,
        split_hash=benchmark.split_hash(split),
        tasks=benchmark.tasks(split)[:limit],
        repeats=config.eval.repeats,
        temperature=config.eval.temperature,
        seed=config.seed,
        blueprints=cast("BlueprintSource", blueprints),
    )
    (opening,) = try_environment(config, benchmark, [first_task(benchmark, split)])
    live = config.eval.max_live
    with ExitStack() as stack:
        runtime = stack.enter_context(build_runtime(config, str(model) if model else None, live, benchmark))
        check_room(runtime, opening)
        stack.enter_context(locked(output))
        if overwrite:
            with WriteGuard(f"evaluation {output}"):
                for path in _former(output):
                    path.unlink()
        bar = stack.enter_context(progress_bar())
        shown = bar.add_task(f"eval {split}", total=len(plan.tasks) * plan.repeats, note="")
        if streamed:
            summary, successes = _streamed(runtime, plan, output, resume, lambda _: bar.advance(shown))
        else:
            planner = None
            if planner_model is not None:
                planner = stack.enter_context(build_runtime(config, str(planner_model), live, benchmark))
            summary, successes = _whole(runtime, plan, output, planner, lambda _: bar.advance(shown))
    summary |= {
        "split": split,
        "split_hash": plan.split_hash,
        "tasks": len(plan.tasks),
        "repeats": plan.repeats,
        "temperature": plan.temperature,
        "success_std": statistics.stdev(successes) if len(successes) > 1 else 0.0,
        "blueprints": blueprints if planner_model is None else f"planner {planner_model}",
        "model": config.engine.model if config.engine.name != "local" else str(model or config.model.path),
    }
    summary |= getattr(benchmark, "conditions", {})
    with WriteGuard(f"summary {output / SUMMARY}"):
        write_text(output / SUMMARY, json.dumps(summary, indent=2))
    _show(summary)


def _former(output: Path) -> list[Path]:
    """What an evaluation left in the directory."""
    files = [output / name for name in (RESULTS, TRIALS, SUMMARY)]
    return [path for path in files if path.is_file() and path.stat().st_size]


def _whole(
    runtime: Runtime, plan: Plan, output: Path, planner: Runtime | None, tick: Tick
) -> tuple[dict[str, Any], list[float]]:
    """Everything, then one file: summary and success of each repeat."""
    rounds = [
        evaluate(
            runtime,
            plan.tasks,
            temperature=plan.temperature,
            seed=repeat_seed(plan.seed, repeat),
            blueprints=plan.blueprints,
            planner=planner,
            planner_temperature=runtime.config.agent.planner.temperature if planner is not None else None,
            on_result=tick,
        )
        for repeat in range(plan.repeats)
    ]
    episodes: list[Episode] = [episode for done in rounds for episode in done]
    write_results(output / "results.jsonl", episodes, plan.split_hash)
    return dict(summarise(episodes)), [summarise(done)["success"] for done in rounds]


def _streamed(
    runtime: Runtime, plan: Plan, output: Path, resume: bool, tick: Tick
) -> tuple[dict[str, Any], list[float]]:
    """Each line at once: summary and success of each repeat."""
    lines, summary = evaluate_resumable(runtime, plan, output, resume=resume, on_task=tick)
    if isinstance(runtime.engine, OpenAIEngine):
        summary["endpoint"] = asdict(runtime.engine.totals)
    count = len(plan.tasks)
    rounds = [lines[start : start + count] for start in range(0, len(lines), count)]
    return summary, [sum(line["success"] for line in done) / len(done) for done in rounds]


def _show(summary: dict[str, Any]) -> None:
    for key in sorted(key for key in summary if key.startswith("success/")):
        console.print(f"{key.removeprefix('success/'):40s} {percent(summary[key])}")
    split, tasks = f"split {summary['split']} {summary['split_hash'][:12]}", summary["tasks"]
    console.print(f"{'all':40s} {percent(summary['success'])}  ({tasks} tasks, {split})")
    if "requests" in summary:
        cost = f", cost {summary['cost']:.4f}" if "cost" in summary else ""
        console.print(
            f"{summary['requests']:,} requests, {summary['prompt_tokens']:,} + {summary['completion_tokens']:,} tokens"
            f"{cost}, {summary['env_steps_all']:,} environment steps"
        )
    broken = summary.get(f"stop/{StopReason.ENGINE_ERROR}", 0.0)
    if broken:
        console.print(f"{percent(broken)} of the episodes got no answer from the endpoint; repeat them with --resume")
