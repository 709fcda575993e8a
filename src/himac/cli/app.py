"""Commands and their options; the work is done in the sibling modules, imported on use."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from himac import __version__
from himac.errors import HimacError, InterruptedRunError, OutOfMemoryError
from himac.inert import inert, inert_warnings

_LONGEST = 4000
"""Characters of a message."""


class _Commands(TyperGroup):
    """Lets Ctrl-C end in one sentence like every other failure; typer itself would exit without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "interrupted; what was saved is intact, continue a training run with --resume"
            ) from error


app = typer.Typer(
    name="himac",
    cls=_Commands,
    help="Train long-horizon language-model agents with HiMAC: a planner and an executor in one model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigArg = Annotated[Path, typer.Argument(help="Configuration file (YAML), or a name of `himac configs`.")]
ConfigOrRun = Annotated[
    Path,
    typer.Argument(help="Configuration, or a run: its latest checkpoint, or RUN@30 that of iteration 30."),
]
Overrides = Annotated[list[str] | None, typer.Argument(help="Dotted overrides, e.g. train.iterations=20 seed=1.")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Where the run is kept. Default: runs/<configuration name>.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run exactly where it stood.")]


def _pointed(model: Path | None) -> Path | None:
    from himac.models.folder import pointed

    return None if model is None else pointed(model)


ModelOpt = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Hugging Face model directory, or RUN/checkpoints/best or latest; replaces model.path.",
        callback=_pointed,
    ),
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command("init-model")
def init_model(
    config: ConfigArg,
    output: Annotated[Path, typer.Argument(help="Directory to create.")],
    overrides: Overrides = None,
) -> None:
    """Make a small Qwen2-architecture model from scratch, with a tokenizer trained on the benchmark's texts."""
    from himac.cli.stages import init_model_command

    init_model_command(config, output, overrides or [])


@app.command()
def warmstart(
    config: ConfigArg,
    output: Annotated[Path, typer.Argument(help="Directory of the warm-started model to create.")],
    overrides: Overrides = None,
    model: ModelOpt = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a warm start that was killed; starts where there is none.")
    ] = False,
) -> None:
    """Train a model on scripted demonstrations (supervised)."""
    from himac.cli.stages import warmstart_command

    warmstart_command(config, output, overrides or [], model, resume)


@app.command()
def train(
    config: ConfigArg,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    model: ModelOpt = None,
) -> None:
    """Train with the configured algorithm; without a model, make and warm-start one first."""
    from himac.cli.train import train_command

    train_command(config, overrides or [], run_dir, resume, model)


@app.command("eval")
def evaluate(
    config: ConfigOrRun,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Directory for results and summary.json. Default: the run's, by checkpoint."),
    ] = None,
    model: ModelOpt = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Only this one; 0 is greedy. Default: 0.4 three times, and 0."),
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Times every task is played, in one setting.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to evaluate. Default: env.eval_split.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first tasks of the split.")] = None,
    blueprints: Annotated[str, typer.Option(help="planner | random | none: who writes the blueprints.")] = "planner",
    planner_model: Annotated[
        Path | None, typer.Option(help="Another model that writes the blueprints, sampled at planner.temperature.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="Replaces agent.name: hierarchical, flat, hiper, plain, react or reflexion.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an evaluation; what is finished is kept.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results in the directory.")] = False,
) -> None:
    """Run every task of a split, sampled at 0.4 three times and greedily, and write per-task results."""
    from himac.cli.evaluate import evaluate_command

    evaluate_command(
        config,
        output,
        overrides or [],
        model,
        split,
        limit,
        blueprints,
        planner_model,
        agent,
        resume,
        overwrite,
        temperature,
        repeats,
    )


@app.command()
def play(
    config: ConfigOrRun,
    overrides: Overrides = None,
    model: ModelOpt = None,
    split: Annotated[str | None, typer.Option(help="Split to draw from. Default: env.eval_split.")] = None,
    task: Annotated[str | None, typer.Option(help="Task id, or its number in the split.")] = None,
    delay: Annotated[float, typer.Option(min=0, help="Seconds between turns.")] = 0.3,
    step: Annotated[bool, typer.Option("--step", help="Wait for Enter after each turn.")] = False,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="A recorded episode of a run or a folder of results, without a model."),
    ] = False,
) -> None:
    """Watch one episode: the blueprint, the active sub-goal, the actions."""
    from himac.cli.play import play_command

    play_command(config, overrides or [], model, split, task, delay, step, replay)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run: its latest checkpoint, or RUN@30.")],
    output: Annotated[
        Path | None, typer.Argument(help="Directory to create. Default with --inspect: inspect/ in the run.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Another checkpoint, such as RUN/checkpoints/best.", callback=_pointed),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Add an adapter to its base and write a whole model.")] = False,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Write the episodes as logs for `inspect view`, of a folder of runs too.")
    ] = False,
) -> None:
    """Write the policy of a run as a Hugging Face model directory, or its adapter as PEFT reads it."""
    from himac.cli.export import export_command, inspect_command

    if inspect:
        inspect_command(run, output)
    else:
        export_command(run, output, model, merge)


@app.command()
def demo(
    overrides: Overrides = None,
    run_dir: RunDir = None,
    config: Annotated[Path | None, typer.Option(help="Another demo configuration.")] = None,
) -> None:
    """Train a small agent with HiMAC on the built-in household tasks and show the result."""
    from himac.cli.demo import demo_command

    demo_command(overrides or [], run_dir, config)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them such as that of a bench.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="The page. Default: report.html in the folder, or here for several.")
    ] = None,
) -> None:
    """Write the report of runs: one HTML page with curves and episodes, and for each run a summary and its curve."""
    from himac.cli.report import report_command

    report_command(runs, output)


@app.command()
def bench(
    matrix: Annotated[Path | None, typer.Argument(help="Matrix file (YAML): methods, tasks, seeds, budget.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the benchmark; an old one goes on.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Methods to run, e.g. himac,grpo.")] = None,
    seeds: Annotated[list[str] | None, typer.Option("--seeds", help="In place of the matrix's, e.g. 0,1.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Runs at a time, within the cores.")] = None,
    tables: Annotated[Path | None, typer.Option("--tables", help="Only remake the tables of this folder.")] = None,
) -> None:
    """Run methods x tasks x seeds at one budget and write tables; run it again to continue."""
    from himac.cli.bench import bench_command, tables_command

    if tables is not None:
        tables_command(tables)
    else:
        bench_command(matrix, output, _split(only), _split(seeds), jobs)


@app.command()
def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one. Default: list all.")] = None,
) -> None:
    """List the configurations that come with himac; their names stand wherever a file is asked for."""
    from himac.cli.configs import configs_command

    configs_command(name)


@app.command()
def data(
    benchmark: Annotated[str | None, typer.Argument(help="alfworld, sokoban or webshop. Default: all.")] = None,
    path: Annotated[
        Path | None, typer.Option("--path", help="Its folder. Default: $ALFWORLD_DATA, $BOXOBAN_DATA or $WEBSHOP_DATA.")
    ] = None,
) -> None:
    """Check which official data is there and complete; nothing is downloaded."""
    from himac.cli.data import data_command

    data_command(benchmark, path)


@app.command()
def view(
    path: Annotated[Path, typer.Argument(help="Run directory, or a folder of them.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the loopback address; 0 takes a free one.")] = 8750,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show the report of a run in the browser and follow it while it trains; a folder gives an index of its runs."""
    from himac.cli.view import view_command

    view_command(path, port, show)


@app.command("new-env")
def new_env(
    name: Annotated[str, typer.Argument(help="Of the package: small letters, digits, underscores.")],
    output: Annotated[Path, typer.Option("--output", help="Folder that the package is put into.")] = Path(),
) -> None:
    """Write a small package with an environment of your own that trains as it is."""
    from himac.cli.new_env import new_env_command

    new_env_command(name, output)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="Configuration file, or a run directory. Default: the installation only.")
    ] = None,
    overrides: Overrides = None,
    gpu: Annotated[
        float | None, typer.Option(min=0.1, help="Memory in GB of a GPU that is not here, to estimate for.")
    ] = None,
) -> None:
    """Tell versions, devices and missing extras, and the memory and time that a configuration takes."""
    from himac.cli.doctor import doctor_command

    doctor_command(config, overrides or [], gpu)


@app.command("check-env")
def check_env(
    target: Annotated[str, typer.Argument(help="A benchmark, gym:<Gymnasium id>, or a configuration file.")],
    overrides: Overrides = None,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks to play of each split.")] = 2,
) -> None:
    """Check that a benchmark keeps its promises: members, splits, demonstrations, environment."""
    from himac.cli.check import check_command

    check_command(target, overrides or [], tasks)


def _split(values: list[str] | None) -> list[str]:
    """Options may be repeated and hold several values: --only a,b --only c."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def main() -> None:
    """Entry point: one clear sentence and a non-zero exit code for every failure a user can repair."""
    inert_warnings()
    try:
        app()
    except HimacError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except OSError as error:
        if error.errno == errno.EPIPE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        place = f" ({error.filename})" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _fail(f"the disk is full{place}; free some space, then continue with --resume", 5)
        if error.errno is None:
            raise
        _fail(f"{os.strerror(error.errno)}{place}; make the path readable and writable and run the command again", 5)
    except (MemoryError, RuntimeError) as error:
        from himac.models.memory import ran_out

        if not ran_out(error):
            raise
        _fail(
            "the command ran out of memory; lower eval.max_live or engine.cache_tokens, or take a smaller model",
            OutOfMemoryError.exit_code,
        )


def _fail(message: str, code: int) -> None:
    sys.stdout.flush()
    shown = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} …"  # it may quote a file
    print(f"error: {inert(shown)}", file=sys.stderr)
    sys.exit(code)
