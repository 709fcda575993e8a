"""`himac bench`: a matrix of runs in processes of their own, and the tables that compare them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from himac.bench.matrix import Cell, expand, load_matrix
from himac.bench.publish import publish
from himac.bench.runner import Bench, describe
from himac.bench.scheduler import Outcome
from himac.cli.console import console, progress_bar
from himac.errors import ConfigError, InterruptedRunError, TrainingError
from himac.shipped import located

_WINDOW_S = 900.0


def tables_command(output: Path) -> None:
    """Write the tables and pictures of a folder anew."""
    for path in publish(output):
        console.print(str(path))


def bench_command(
    path: Path | None, output: Path | None, only: Sequence[str], seeds: Sequence[str], jobs: int | None
) -> None:
    """Run what is not finished, then write the tables.

    Raises:
        TrainingError: some runs failed; the others and the tables are complete.
    """
    if path is None or output is None:
        raise ConfigError("give a matrix file and --output DIR, or --tables DIR to remake tables")
    if not all(seed.removeprefix("-").isdecimal() for seed in seeds):
        raise ConfigError(f"--seeds takes whole numbers such as 0,1,2, not '{','.join(seeds)}'")
    path = located(path)
    matrix = load_matrix(path)
    cells, warm = expand(matrix, path.parent, only, [int(seed) for seed in seeds])
    bench = Bench(output, matrix if jobs is None else matrix.model_copy(update={"jobs": jobs}), cells, warm)
    pending = bench.pending()
    _check(pending)
    console.print(f"{len(cells)} runs, {len(cells) - len(pending)} of them finished -> {output}")
    failed = _run(bench, len(cells), len(pending), lambda: describe(matrix, path, output))
    if len(failed) < len(cells):
        tables_command(output)
    if failed:
        for outcome in failed:
            console.print(f"failed  {outcome.job.name}: {outcome.error} (see {outcome.job.log})")
        first = failed[0]
        raise TrainingError(
            f"{len(failed)} of {len(cells)} runs failed, the first was {first.job.name} ({first.error}); "
            "repair the cause and run the same command again, which repeats only those"
        )


def _check(cells: Sequence[Cell]) -> None:
    """Refuse what no process could train, before time is spent on the others."""
    from himac.training.factory import check_training

    for cell in cells:
        if cell.kind == "train":
            try:
                check_training(cell.config)
            except ConfigError as error:
                raise ConfigError(f"method '{cell.method}' on task '{cell.task}': {error}") from error


def _run(bench: Bench, total: int, pending: int, on_start: Callable[[], None]) -> list[Outcome]:
    """Outcomes of the cells that failed."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # end the processes as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    done, failed = total - pending, list[Outcome]()
    names = {cell.name for cell in bench.cells}
    with progress_bar(_WINDOW_S) as bar:
        task = bar.add_task("runs", total=total, completed=done, note="")

        def end(outcome: Outcome) -> None:
            nonlocal done
            done += outcome.job.name in names
            if not outcome.ok and outcome.job.name in names:
                failed.append(outcome)
            state = f"{outcome.seconds:.0f} s" if outcome.ok else f"FAILED: {outcome.error}"
            console.print(f"{outcome.job.name}  {state}")

        def tick(fractions: dict[str, float]) -> None:
            note = "  ".join(f"{name} {share:.0%}" for name, share in fractions.items())
            bar.update(task, completed=done + sum(fractions.values()), note=note)

        try:
            bench.run(end, tick, on_start)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "interrupted; its processes have ended and what they saved is intact, run the same command to continue"
            ) from error
    return failed
