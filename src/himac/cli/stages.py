"""Making a model: initialisation from scratch and the supervised warm start."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from himac.agents.describer import REQUEST
from himac.agents.hiper import RULES
from himac.agents.parsing import format_blueprint
from himac.cli.console import console, percent, progress_bar
from himac.cli.out_of_memory import memory_explained
from himac.config import Config
from himac.config_file import load_config
from himac.envs.base import Benchmark, demonstrations
from himac.errors import ConfigError
from himac.rollout.preflight import first_task, try_environment
from himac.rollout.runtime import build_benchmark, build_runtime, check_model_path, require_weights
from himac.scene import in_words, plain
from himac.seeding import derive_seed
from himac.store.lock import locked
from himac.types import Demonstration


def init_model_command(config_path: Path, output: Path, overrides: Sequence[str]) -> None:
    """`himac init-model`."""
    config = load_config(config_path, overrides)
    make_model(config, build_benchmark(config), _fresh(output))


def warmstart_command(
    config_path: Path, output: Path, overrides: Sequence[str], model: Path | None, resume: bool
) -> None:
    """`himac warmstart`."""
    config = load_config(config_path, overrides)
    require_weights(config, "a warm start")
    path = str(model or config.model.path)
    check_model_path(path)
    with locked(output, output.with_name(f".{output.name}.lock")):
        kept = _unfinished(_fresh(output))
        if kept.exists() and not resume:
            raise ConfigError(f"{kept} holds a warm start that did not end; go on with --resume or remove it")
        benchmark = build_benchmark(config)
        try_environment(config, benchmark, [first_task(benchmark, config.env.train_split)])
        based = config.model_copy(update={"model": config.model.model_copy(update={"path": path})})
        with memory_explained(based, "the warm start"):
            warm_model(based, benchmark, path, output)


def make_model(config: Config, benchmark: Benchmark, output: Path) -> None:
    """Initialise a model whose tokenizer is trained on demonstrations of the training split."""
    from himac.models.init_model import init_model
    from himac.store.atomic import WriteGuard

    tasks = benchmark.tasks(config.env.train_split)
    tasks = random.Random(derive_seed(config.seed, "texts")).sample(tasks, min(config.init.tokenizer_games, len(tasks)))
    demos = demonstrations(benchmark, tasks, 1, derive_seed(config.seed, "tokenizer"))
    shape = config.init.model_dump(exclude={"tokenizer_games"})
    with WriteGuard(f"model {output}"):
        parameters = init_model(output, _texts(benchmark, demos, config.warmstart.formats), seed=config.seed, **shape)
    console.print(f"model: {parameters / 1e6:.2f} M parameters -> {output}")


def warm_model(config: Config, benchmark: Benchmark, model: str, output: Path) -> dict[str, Any]:
    """Warm-start `model` into the new directory `output`; returns the report, also kept as `warmstart.json`.

    One that was killed goes on from its last checkpoint.
    """
    from himac.training.checkpoint import save_model
    from himac.training.diagnosis import TOO_LONG
    from himac.training.warmstart import Unfinished, warmstart

    kept = Unfinished.at(_unfinished(output), model)
    based = config.model_copy(update={"model": config.model.model_copy(update={"path": model})})
    with build_runtime(based, kept.model, benchmark=benchmark, trained=True) as runtime, progress_bar() as bar:
        console.print("warm start: writing demonstrations")
        task = bar.add_task("warm start", total=None, note="")

        def tick(step: int, steps: int, metrics: dict[str, float]) -> None:
            rate = metrics.get("tokens_per_s", 0.0)
            bar.update(task, completed=step, total=steps, note=f"loss {metrics['loss']:.3f}  {rate:,.0f} tokens/s")

        report = warmstart(runtime, tick, kept)
        files = {"warmstart.json": json.dumps(asdict(report), indent=2)}
        assert runtime.policy is not None
        # Whole: what is trained from here on has it for its reference.
        save_model(output, runtime.policy.model, runtime.policy.tokenizer, files=files, merge=True)
    clear_unfinished(output)
    left_out = f" ({report.too_long} rows too long for agent.max_context left out)"
    if report.too_long > TOO_LONG * (report.rows + report.too_long):
        share = percent(report.too_long / (report.rows + report.too_long))
        console.print(
            f"warning: {share} of the rows of the demonstrations do not fit into agent.max_context and are not "
            "learned; raise it"
        )
    if report.replies_too_long:
        console.print(f"{report.replies_too_long} demonstrated replies are longer than the agent may say (max_tokens)")
    console.print(
        f"warm start: {report.demonstrations} demonstrations{left_out}, {report.tokens / 1e6:.1f} M tokens, "
        f"loss {report.loss_first:.3f} -> {report.loss_last:.3f} in {report.seconds:.0f} s -> {output}"
    )
    return asdict(report)


def clear_unfinished(output: Path) -> None:
    """Remove the checkpoints of a warm start that has ended."""
    shutil.rmtree(_unfinished(output), ignore_errors=True)


def _unfinished(output: Path) -> Path:
    """Where the checkpoints of a warm start are until `output` appears."""
    return output.with_name(f"{output.name}.unfinished")


def _texts(benchmark: Benchmark, demos: Iterator[Demonstration], formats: Sequence[str]) -> Iterator[str]:
    yield "\n".join((benchmark.texts.planner, benchmark.texts.executor, benchmark.texts.flat))
    if "hiper" in formats:
        yield RULES
    if "captions" in formats:
        yield REQUEST
    for demo in demos:
        yield f"{plain(demo.observation)}\nTask: {demo.instruction}"
        if "captions" in formats:
            yield in_words(demo.observation)
        yield format_blueprint(demo.blueprint)
        for segment in demo.segments:
            yield f"{plain(segment.start)}\nGoal: {segment.subgoal}"
            if "hiper" in formats:  # its words are in every reply; spelled letter by letter they are hard to learn
                yield f"SWITCH: {segment.subgoal}\n> \nKEEP\n> "
            for turn in segment.turns:
                yield turn.action or ""
                yield plain(turn.observation)


def _fresh(output: Path) -> Path:
    if output.exists():
        raise ConfigError(f"{output} exists already; choose a new directory or remove it")
    return output
