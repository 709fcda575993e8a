"""`himac train`: a run directory from a configuration, in stages that are each atomic and resumable."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from himac.cli.console import console, percent, progress_bar
from himac.cli.out_of_memory import memory_explained
from himac.cli.stages import clear_unfinished, make_model, warm_model
from himac.config import Config
from himac.config_file import difference, dump_config, flatten, load_config
from himac.continuing import BUDGET, MACHINE, check_budget
from himac.envs.base import Benchmark
from himac.envs.pool import EnvResult
from himac.errors import CheckpointError, ConfigError
from himac.machine import machine
from himac.models.folder import is_adapter
from himac.rollout.preflight import check_room, first_task, try_environment
from himac.rollout.runtime import build_benchmark, build_runtime, check_model_path
from himac.store.atomic import WriteGuard, clean, write_text
from himac.store.lock import locked
from himac.trackers.board import Board, check_trackers

RESUMABLE_CHANGES = (*BUDGET, *MACHINE, "train.keep_checkpoints", "train.record_episodes", "train.trackers")
_CONFIG, _ENVIRONMENT = "config.yaml", "environment.json"
_DESCRIPTION = (_CONFIG, _ENVIRONMENT, f".tmp-{_CONFIG}", ".lock")


def train_command(
    config_path: Path, overrides: Sequence[str], run_dir: Path | None, resume: bool, model: Path | None
) -> None:
    """Prepare the run directory and train."""
    config = load_config(config_path, [*overrides, *([f"model.path={json.dumps(str(model))}"] if model else [])])
    run_training(config, run_dir or Path("runs") / config_path.stem, resume)


def run_training(config: Config, run_dir: Path, resume: bool) -> None:
    """Train into `run_dir`: initialise and warm-start when no model is given, then reinforcement learning."""
    from himac.training.factory import check_taught, check_training

    check_training(config)
    check_trackers(config.train.trackers)
    if config.model.path:
        check_model_path(config.model.path)
        if is_adapter(Path(config.model.path)):
            raise ConfigError(
                f"{config.model.path} is an adapter, and training starts from a whole model; make one of it with "
                "`himac export --merge`"
            )
    else:
        check_taught(config)
    _check_place(run_dir, resume)
    with locked(run_dir):
        _check_place(run_dir, resume)  # now that nobody else can begin a run here
        benchmark = build_benchmark(config)
        splits = dict.fromkeys((config.env.train_split, config.env.eval_split))
        opening, *_ = try_environment(config, benchmark, [first_task(benchmark, split) for split in splits])
        _prepare(config, run_dir, resume)  # what describes the machine imports torch
        with memory_explained(config, "training"):
            start = _starting_model(config, benchmark, run_dir)
            _reinforce(config, benchmark, start, run_dir, opening)


def _check_place(run_dir: Path, resume: bool) -> None:
    if resume and not (run_dir / _CONFIG).is_file():
        raise CheckpointError(f"{run_dir} holds no run to resume (no {_CONFIG}); start it without --resume")
    if not resume and run_dir.exists() and not _unstarted(run_dir):
        raise CheckpointError(f"{run_dir} is not empty; continue it with --resume or choose another --run-dir")


def _prepare(config: Config, run_dir: Path, resume: bool) -> None:
    saved = run_dir / _CONFIG
    if resume:
        former = load_config(saved)
        changed = difference(former, config, RESUMABLE_CHANGES)
        if changed:
            raise CheckpointError(
                f"{run_dir} was started with another configuration: {'; '.join(changed)}; use a new --run-dir"
            )
        check_budget(former, config)
    with WriteGuard(f"run directory {run_dir}"):
        write_text(saved, dump_config(config))
        write_text(run_dir / _ENVIRONMENT, json.dumps(_environment(config), indent=2))


def _unstarted(run_dir: Path) -> bool:
    """Whether the directory is empty, or a command that failed at once left nothing but its configuration there."""
    return run_dir.is_dir() and all(path.name in _DESCRIPTION for path in run_dir.iterdir())


def _starting_model(config: Config, benchmark: Benchmark, run_dir: Path) -> str:
    """The given model, or one made and warm-started here; finished stages are kept."""
    if config.model.path:
        return config.model.path
    made, warmed = run_dir / "init", run_dir / "warmstart"
    if not made.exists():
        clean(run_dir)  # of a run that was killed while it wrote the model
        make_model(config, benchmark, made)
    if not warmed.exists():
        warm_model(_model(config, lora=None), benchmark, str(made), warmed)  # from nothing: all of it has to learn
    clear_unfinished(warmed)  # of a run that was killed while it did so
    return str(warmed)


def _model(config: Config, **changes: Any) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def _reinforce(config: Config, benchmark: Benchmark, start: str, run_dir: Path, opening: EnvResult) -> None:
    from himac.models.policy import Policy
    from himac.training.checkpoint import check_lines, load_latest
    from himac.training.factory import learner_settings, make_learner, planned_steps
    from himac.training.trainer import Trainer

    latest = load_latest(run_dir)
    if latest is not None:
        check_lines(run_dir, latest)
    path = str(latest.model_dir) if latest else start
    live, workers = config.train.max_live, config.train.rollout_workers
    based = _model(config, path=start)  # what a checkpoint's adapter belongs to
    with build_runtime(based, path, live, benchmark, workers, trained=True) as runtime, progress_bar() as bar:
        check_room(runtime, opening)
        reference = None
        if latest and config.model.lora is None and learner_settings(config, total_steps=1).needs_reference:
            reference = Policy.load(start, config.model).model
        assert runtime.policy is not None
        learner = make_learner(runtime.policy, config, reference, total_steps=planned_steps(config, runtime))
        task = bar.add_task(config.algo.name, total=config.train.iterations, note="")

        def show(entry: dict[str, Any]) -> None:
            board.add(entry)
            note = _note(entry)
            bar.update(task, completed=trainer.progress.iteration, note=f"{note}, {entry['env_steps']:,} steps")
            if entry["kind"] == "eval" or not console.is_terminal:
                console.print(f"iteration {entry['iteration']:4d}  {note}, {entry['env_steps']:,} environment steps")
            for warning in entry.get("warnings", ()):
                console.print(f"warning: iteration {entry['iteration']}, {warning}")

        trainer = Trainer(config, runtime, learner, run_dir, on_record=show)
        if latest is not None:
            trainer.restore(latest.state)
            console.print(
                f"resumed {run_dir} at iteration {trainer.progress.iteration}, phase {trainer.progress.phase}"
            )
        resumed_at = trainer.progress.env_steps if latest else None
        settings = flatten(config.model_dump(mode="json"))
        board = Board(config.train.trackers, run_dir, settings, resumed_at, _warn)
        try:
            trainer.run()
        finally:
            board.close()


def _warn(why: str) -> None:
    console.print(f"warning: {why}")


def _note(entry: dict[str, Any]) -> str:
    """A record in a few words."""
    if "success" not in entry:  # `algo.require_positive` found no blueprint worth executing
        return f"{entry['phase']}: no episodes"
    cut = entry.get("segments_too_long", 0.0)
    return f"{entry['phase']}: success {percent(entry['success'])}, return {entry['return_mean']:.2f}" + (
        f", {percent(cut)} of the segments too long" if cut else ""
    )


def _environment(config: Config) -> dict[str, Any]:
    import torch  # noqa: F401 - training loads it anyway; what it chose on this processor stands in `machine`

    found = machine()
    if config.threads is not None:  # set when the model is loaded
        found["torch"]["threads"] = config.threads
    packages = ("himac", "torch", "transformers", "tokenizers", "gymnasium", "numpy")
    return {
        "command": sys.argv,
        "machine": found,
        "packages": {name: metadata.version(name) for name in packages},
    }
