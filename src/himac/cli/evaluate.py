"""`himac eval`: every task of a split sampled and greedily, or in one setting, with per-task results."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from himac.cli.console import console, percent, progress_bar
from himac.cli.runs import Chosen, choose
from himac.config import FIELD_REPEATS, FIELD_TEMPERATURE
from himac.config_file import load_config
from himac.errors import CheckpointError, ConfigError
from himac.evaluation.evaluate import BlueprintSource, evaluate, repeat_seed, sample_tasks
from himac.evaluation.plan import RESULTS, SETTINGS, TRIALS, Plan, begin
from himac.evaluation.records import Record, record, write_records
from himac.evaluation.resumable import evaluate_resumable
from himac.evaluation.summary import summarise_lines
from himac.report.cells import GREEDY, SUMMARY
from himac.report.pictures import FOLDER, save_pictures
from himac.report.results import TOLD, read_jsonl
from himac.rollout.preflight import check_room, first_task, try_environment
from himac.rollout.runtime import Runtime, build_benchmark, build_runtime, check_model_path
from himac.store.atomic import WriteGuard, write_text
from himac.store.lock import locked
from himac.types import StopReason

SOURCES = ("planner", "random", "none")
_ONE_SETTING = ("eval", "eval.temperature", "eval.repeats")
"""Overrides that ask for a setting of their own."""
Tick = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the evaluation of one setting is kept.

    Attributes:
        resume: It goes on with what is there.
        weights: What tells its models from others.
    """

    output: Path
    resume: bool
    weights: str


def evaluate_command(
    config_path: Path,
    output: Path | None,
    overrides: Sequence[str],
    model: Path | None,
    split: str | None,
    limit: int | None,
    blueprints: str,
    planner_model: Path | None,
    agent: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    temperature: float | None = None,
    repeats: int | None = None,
) -> None:
    """Evaluate and write `results.jsonl` (one line a task and repeat) and `summary.json`."""
    if blueprints not in SOURCES:
        raise ConfigError(f"--blueprints must be one of {', '.join(SOURCES)}, not '{blueprints}'")
    chosen = choose(config_path, model)
    asked = {"agent.name": agent, "eval.temperature": temperature, "eval.repeats": repeats}
    overrides = [*overrides, *(f"{key}={value}" for key, value in asked.items() if value is not None)]
    config = load_config(chosen.config, overrides)
    if planner_model is not None and blueprints != "planner":
        raise ConfigError(f"--planner-model writes no blueprint with --blueprints {blueprints}; give one of the two")
    if config.agent.name != "hierarchical" and (planner_model is not None or blueprints != "planner"):
        raise ConfigError("a flat agent follows no blueprint; leave out --blueprints and --planner-model")
    streamed = not config.engine.can.exact or config.agent.name == "reflexion"
    if streamed and planner_model is not None:
        raise ConfigError("--planner-model is for local models; leave it out with an endpoint")
    if resume and overwrite:
        raise ConfigError("--resume keeps results and --overwrite replaces them; give one of the two")
    resume = resume or (output is None and not overwrite and _begun(chosen.output))
    output = output or chosen.output
    if output is None:
        raise ConfigError("give --output DIR; only an evaluation of a run's own checkpoint has a place in the run")
    if resume and not _begun(output):
        raise CheckpointError(f"{output} holds no evaluation to resume (no {SETTINGS}); leave out --resume")
    if not (resume or overwrite) and _former(output):
        raise CheckpointError(
            f"{output} holds results of an evaluation; choose another --output, replace them with --overwrite, or "
            "continue them with --resume"
        )
    models = [str(path) for path in (chosen.model or config.model.path, planner_model) if path is not None]
    models = models if config.engine.can.weights else []
    for path in models:
        check_model_path(path)
    benchmark = build_benchmark(config)
    whole, split = split is not None or chosen.run is None, split or config.env.eval_split
    if split not in benchmark.splits():
        raise ConfigError(
            f"benchmark '{config.env.name}' has no split '{split}'; choose one of {', '.join(benchmark.splits())}"
        )
    tasks = benchmark.tasks(split)
    if not whole:  # those that the curve of the run is about
        tasks = sample_tasks(tasks, config.train.eval_tasks)
    one = Plan(
        split=split,
        split_hash=benchmark.split_hash(split),
        tasks=tasks[:limit],
        repeats=config.eval.repeats,
        temperature=config.eval.temperature,
        seed=config.seed,
        blueprints=cast("BlueprintSource", blueprints),
    )
    # What an endpoint answers is paid for, so it is asked for no more than the configuration says.
    single = not config.engine.can.exact or any(key.partition("=")[0].strip() in _ONE_SETTING for key in overrides)
    plans = {"": one} if single else _both_ways(one)
    (opening,) = try_environment(config, benchmark, [first_task(benchmark, split)])
    live = config.eval.max_live
    with ExitStack() as stack:
        given = None if chosen.model is None else str(chosen.model)
        runtime = stack.enter_context(build_runtime(config, given, live, benchmark))
        check_room(runtime, opening)
        stack.enter_context(locked(output))
        if overwrite:
            with WriteGuard(f"evaluation {output}"):
                for former in _former(output):
                    former.unlink()
        planner = None
        if planner_model is not None:
            planner = stack.enter_context(build_runtime(config, str(planner_model), live, benchmark))
        weights = _weights(models)
        bar = stack.enter_context(progress_bar())
        shown = bar.add_task(f"eval {split}", total=sum(len(p.tasks) * p.repeats for p in plans.values()), note="")
        found = dict[str, Any]()
        for name, plan in plans.items():
            place = Place(output / name, resume and (output / name / SETTINGS).is_file(), weights)
            if streamed:
                lines, found[name] = _streamed(runtime, plan, place, lambda _: bar.advance(shown))
            else:
                lines = _rounds(runtime, plan, place, planner, chosen, lambda _: bar.advance(shown))
                found[name] = summarise_lines(lines, plan.tasks)
            found[name] |= {"temperature": plan.temperature, "repeats": plan.repeats, "success_std": _std(lines, plan)}
    summary = found.pop("") | {
        "split": split,
        "split_hash": one.split_hash,
        "tasks": len(one.tasks),
        "blueprints": blueprints if planner_model is None else f"planner {planner_model}",
        "model": models[0] if models else config.engine.served,
    }
    summary |= getattr(benchmark, "conditions", {}) | found
    with WriteGuard(f"summary {output / SUMMARY}"):
        write_text(output / SUMMARY, json.dumps(summary, indent=2))
    _show(summary)


def _both_ways(plan: Plan) -> dict[str, Plan]:
    """By sub-folder; the one that tables are about comes last, so that its results are the newest."""
    sampled = replace(plan, temperature=FIELD_TEMPERATURE, repeats=FIELD_REPEATS)
    return {GREEDY: replace(plan, temperature=0.0, repeats=1), "": sampled}


def _begun(output: Path | None) -> bool:
    return output is not None and any((folder / SETTINGS).is_file() for folder in (output, output / GREEDY))


def _former(output: Path) -> list[Path]:
    """What an evaluation left in the directory."""
    files = [folder / name for folder in (output, output / GREEDY) for name in (RESULTS, TRIALS, SUMMARY)]
    return [path for path in files if path.is_file() and path.stat().st_size]


def _weights(models: Sequence[str]) -> str:
    """Tells models from others; nothing for an endpoint."""
    from himac.training.checkpoint import crc32

    files = (path for model in models for path in sorted(Path(model).glob("*.safetensors")))
    return " ".join(f"{crc32(path):08x}" for path in files)


def _rounds(
    runtime: Runtime, plan: Plan, place: Place, planner: Runtime | None, chosen: Chosen, tick: Tick
) -> list[Record]:
    """Repeat by repeat, each of which is kept when it is over; those that are there already are not played again."""
    begin(place.output, runtime.config, plan, place.resume, place.weights)
    path, count = place.output / RESULTS, len(plan.tasks)
    played = path if path.is_file() else chosen.played(runtime.config, plan) if planner is None else None
    lines = read_jsonl(played, TOLD)[: plan.repeats * count] if played is not None else []
    if [line["task_id"] for line in lines] != [task.id for task in plan.tasks] * (len(lines) // count):
        raise CheckpointError(f"{path} holds results of other tasks; choose another --output")
    if played not in (None, path):
        write_records(path, lines)
        if (played.parent / FOLDER).is_dir():
            with WriteGuard(f"pictures beside {path}"):
                shutil.copytree(played.parent / FOLDER, path.parent / FOLDER, dirs_exist_ok=True)
    for line in lines:
        tick(line)
    for repeat in range(len(lines) // count, plan.repeats):
        episodes = evaluate(
            runtime,
            plan.tasks,
            temperature=plan.temperature,
            seed=repeat_seed(plan.seed, repeat),
            blueprints=plan.blueprints,
            planner=planner,
            on_result=tick,
        )
        found = [record(episode, plan.split_hash) for episode in episodes]
        with WriteGuard(f"pictures beside {path}"):
            save_pictures(path.parent, episodes, found)
        lines += found
        write_records(path, lines)
    return lines


def _streamed(runtime: Runtime, plan: Plan, place: Place, tick: Tick) -> tuple[list[Record], dict[str, Any]]:
    """Each line at once."""
    lines, summary = evaluate_resumable(
        runtime, plan, place.output, resume=place.resume, weights=place.weights, on_task=tick
    )
    if runtime.engine.totals is not None:
        summary["endpoint"] = asdict(runtime.engine.totals)
    return lines, summary


def _std(lines: Sequence[Record], plan: Plan) -> float:
    """Sample standard deviation of success over the repeats."""
    count = len(plan.tasks)
    shares = [sum(line["success"] for line in lines[n : n + count]) / count for n in range(0, len(lines), count)]
    return statistics.stdev(shares) if len(shares) > 1 else 0.0


def _show(summary: Mapping[str, Any]) -> None:
    ways = [summary, *([summary[GREEDY]] if GREEDY in summary else [])]
    for key in sorted(key for key in summary if key.startswith("success/")):
        console.print(f"{key.removeprefix('success/'):40s} {'  '.join(percent(way[key]) for way in ways)}")
    for way in ways:
        label = f"all, T={way['temperature']:g}" if way["temperature"] else "all, greedy"
        spread = f" ± {percent(way['success_std'])} over {way['repeats']} repeats" if way["repeats"] > 1 else ""
        console.print(f"{label:40s} {percent(way['success'])}{spread}")
    console.print(f"{summary['tasks']} tasks, split {summary['split']} {summary['split_hash'][:12]}")
    if "requests" in summary:
        cost = f", cost {summary['cost']:.4f}" if "cost" in summary else ""
        console.print(
            f"{summary['requests']:,} requests, {summary['prompt_tokens']:,} + {summary['completion_tokens']:,} tokens"
            f"{cost}, {summary['env_steps_all']:,} environment steps"
        )
    broken = summary.get(f"stop/{StopReason.ENGINE_ERROR}", 0.0)
    if broken:
        console.print(f"{percent(broken)} of the episodes got no answer from the endpoint; repeat them with --resume")
