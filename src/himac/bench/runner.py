"""Turns a matrix into processes of the command line and keeps the account of what is finished.

The output folder:

    matrix.yaml, base.yaml          what was asked for
    models/TASK/                    the task's shared warm start
    runs/TASK/METHOD/seed-N/        a run directory of `himac train` and, in it, the evaluation of its last checkpoint
                                    (or an output of `himac eval`)
    runs/TASK/METHOD/seed-N.yaml    its configuration, and in seed-N.log its output
    cells.jsonl                     one line for each cell that ended, failures included; the last line of a cell counts
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, with_config
from typing_extensions import TypedDict

from himac.bench.matrix import Cell, Matrix, Name, starts_warm
from himac.bench.scheduler import Job, Outcome, run_jobs
from himac.config import Config
from himac.config_file import difference, dump_config, load_config
from himac.continuing import BUDGET, MACHINE, check_budget
from himac.errors import ConfigError, DataError, EndpointError
from himac.report.cells import GREEDY, final_evaluation
from himac.report.results import STRICT, Count, Finite, number, read_jsonl, read_record
from himac.store.atomic import WriteGuard, write_text
from himac.store.lock import locked
from himac.store.metrics_log import MetricsLog
from himac.types import StopReason

COMMAND = (sys.executable, "-m", "himac")
MATRIX, BASE, CELLS = "matrix.yaml", "base.yaml", "cells.jsonl"

_EVALUATION = "evaluation.json"
"""What `himac eval` leaves beside results that it can continue."""
_SUMMARY = "summary.json"
_NOT_IN_A_WARM_START = (
    *("algo", "eval"),
    *(
        f"agent.{policy}.{key}"
        for policy in ("planner", "executor", "flat", "hiper")
        for key in ("temperature", "max_tokens")
    ),
    *(f"train.{key}" for key in ("iterations", "env_steps", "eval_every", "eval_tasks", "checkpoint_every")),
    *(f"train.learner.{key}" for key in ("lr", "schedule", "kl_coef", "mini_batches", "epochs")),
)
"""What may be tried in several ways from one warm-started model: supervised training does not read it."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The cells of a matrix in an output folder.

    Attributes:
        warm: Configuration of the shared warm start by task.
        command: What runs `himac`.
    """

    output: Path
    matrix: Matrix
    cells: Sequence[Cell]
    warm: Mapping[str, Config]
    command: tuple[str, ...] = COMMAND

    def pending(self) -> list[Cell]:
        """Cells without a successful record under their present configuration.

        Raises:
            ConfigError: a cell or a warm start in the folder was made with another configuration, or a cell whose
                learning rate falls is to train on.
        """
        for task, config in self.warm.items():
            if (self._model(task) / "init").exists():
                _check(self._model(task) / "config.yaml", config, (*MACHINE, *_NOT_IN_A_WARM_START))
        for cell in self.cells:
            if any((self.folder(cell) / name).exists() for name in ("config.yaml", _SUMMARY)):
                saved = _check(self._config(cell), cell.config, (*MACHINE, *BUDGET))
                if cell.kind == "train":
                    check_budget(saved, cell.config)
        records = last_records(self.output)
        return [cell for cell in self.cells if not _is_done(records.get(cell.name), cell) or self._fault(cell)]

    def run(
        self,
        on_end: Callable[[Outcome], None] = lambda outcome: None,
        on_tick: Callable[[dict[str, float]], None] = lambda fractions: None,
        on_start: Callable[[], None] = lambda: None,
    ) -> list[Outcome]:
        """Run what is pending, warm starts first, and record how each cell ends.

        Args:
            on_start: Called before the first one, when the folder is this process's own.
            on_tick: Called several times a second with the done fraction of each running cell.
        """
        done = list[Outcome]()
        with locked(self.output) as lock:
            pending = self.pending()  # now that nobody else can finish or begin a cell
            on_start()
            cells = {cell.name: cell for cell in pending}
            with _guard(self.output):
                log = MetricsLog(self.output / CELLS)
                jobs = [*self._warm_jobs(pending), *map(self._job, pending)]

            def end(outcome: Outcome) -> None:
                cell = cells.get(outcome.job.name)
                if cell is not None:
                    if outcome.ok and (fault := self._fault(cell)):
                        outcome = replace(outcome, code=EndpointError.exit_code, error=fault)
                    with _guard(self.output):
                        log.append(_record(cell, outcome))
                done.append(outcome)
                on_end(outcome)

            run_jobs(
                jobs,
                self.matrix.slots(cell.config for cell in pending),
                env=_environment(self.matrix.threads),
                inherit=(lock,),
                on_end=end,
                on_tick=lambda names: on_tick({name: self._fraction(cells[name]) for name in names if name in cells}),
            )
        return done

    def _fault(self, cell: Cell) -> str:
        """Why a cell that ended well is not over: an evaluation is missing, or some of its episodes got no answer."""
        if cell.kind == "train":
            latest = self.folder(cell) / "checkpoints" / "latest"
            missing = latest.is_file() and final_evaluation(self.folder(cell)) is None
            return "its last checkpoint is not evaluated; run the same command again for that" if missing else ""
        try:
            share = number(read_record(self.folder(cell) / _SUMMARY), f"stop/{StopReason.ENGINE_ERROR}")
        except DataError as error:
            return str(error)
        if not share:
            return ""
        return f"{share:.1%} of the episodes got no answer from the endpoint; run the same command again for those"

    def _warm_jobs(self, pending: Sequence[Cell]) -> Iterator[Job]:
        for task in dict.fromkeys(cell.task for cell in pending if self._needs_model(cell)):
            folder = self._model(task)
            made, warmed, config = folder / "init", folder / "warmstart", folder / "config.yaml"
            if warmed.exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*"):  # of a process that was killed while it wrote a model
                if leftover.is_dir():
                    shutil.rmtree(leftover)
            _save(self.warm[task], config)
            init = (*self.command, "init-model", str(config), str(made))
            imitate = (*self.command, "warmstart", str(config), str(warmed), "--model", str(made), "--resume")
            yield Job(_warm_name(task), (imitate,) if made.exists() else (init, imitate), folder / "log.txt")

    def _job(self, cell: Cell) -> Job:
        folder, config = self.folder(cell), self._config(cell)
        config.parent.mkdir(parents=True, exist_ok=True)
        started = (folder / "config.yaml").is_file()
        _save(cell.config, config)
        line = [*self.command, cell.kind, str(config)]
        if cell.kind == "train":
            line += ["--run-dir", str(folder), *(["--resume"] if started else [])]
        else:
            begun = any((path / _EVALUATION).is_file() for path in (folder, folder / GREEDY))
            line += ["--output", str(folder), "--resume" if begun else "--overwrite"]
        needs = None
        if self._needs_model(cell):
            model = self._model(cell.task) / "warmstart"
            line += ["--model", str(model.resolve())]
            needs = None if model.exists() else _warm_name(cell.task)
        final = [(*self.command, "eval", str(folder))] if cell.kind == "train" else []
        return Job(cell.name, (tuple(line), *final), config.with_suffix(".log"), needs)

    def folder(self, cell: Cell) -> Path:
        """The cell's run directory."""
        return self.output / "runs" / cell.name

    def _config(self, cell: Cell) -> Path:
        folder = self.folder(cell)
        return folder.with_name(f"{folder.name}.yaml")

    def _model(self, task: str) -> Path:
        return self.output / "models" / task

    def _needs_model(self, cell: Cell) -> bool:
        return cell.task in self.warm and starts_warm(cell.config)

    def _fraction(self, cell: Cell) -> float:
        """Share of the budget that a running cell has spent."""
        path = self.folder(cell) / "metrics.jsonl"
        try:
            status = path.stat()
            return min(1.0, _env_steps(path, status.st_mtime_ns, status.st_size) / self.matrix.env_steps)
        except (OSError, DataError):  # not begun
            return 0.0


def describe(matrix: Matrix, source: Path, output: Path) -> None:
    """Keep the matrix and its base configuration in the output folder."""
    with _guard(output):
        output.mkdir(parents=True, exist_ok=True)
        base = (source.parent / matrix.base).read_text(encoding="utf-8")
        tree = matrix.model_dump(mode="json", exclude_defaults=True) | {"base": BASE}
        write_text(output / BASE, base.rstrip("\n"))
        write_text(output / MATRIX, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).rstrip("\n"))


@with_config(STRICT)
class _Ended(TypedDict):
    """A line of `cells.jsonl`; its names become those of folders and files."""

    cell: str
    task: Name
    method: Name
    seed: int
    kind: Literal["train", "eval"]
    config: str
    budget: Count | None
    code: int | None
    seconds: Finite
    error: str


_CELL = TypeAdapter[Any](_Ended)


def read_cells(output: Path) -> list[dict[str, Any]]:
    """The lines of `cells.jsonl`."""
    return read_jsonl(output / CELLS, _CELL)


def last_records(output: Path) -> dict[str, dict[str, Any]]:
    """The last line of `cells.jsonl` for each cell, by name."""
    path = output / CELLS
    return {str(record["cell"]): record for record in read_cells(output)} if path.is_file() else {}


@lru_cache(maxsize=256)
def _env_steps(path: Path, changed: int, size: int) -> float:
    """Of the last record; the file is read again only when it has changed, not at every tick."""
    records = read_jsonl(path)
    return (number(records[-1], "env_steps") if records else None) or 0.0


def _check(saved: Path, config: Config, free: Sequence[str]) -> Config:
    """The saved configuration, which may differ in the keys of `free` only."""
    former = load_config(saved)
    changed = difference(former, config, free)
    if changed:
        raise ConfigError(
            f"what is beside {saved} was made with another configuration: {'; '.join(changed)}; "
            "use another --output or remove it"
        )
    return former


def _record(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    return {
        "cell": cell.name,
        "task": cell.task,
        "method": cell.method,
        "seed": cell.seed,
        "kind": cell.kind,
        "config": _fingerprint(cell.config),
        "budget": cell.config.train.env_steps if cell.kind == "train" else None,
        "code": outcome.code,
        "seconds": round(outcome.seconds, 1),
        "error": outcome.error,
    }


def _is_done(record: Mapping[str, Any] | None, cell: Cell) -> bool:
    return record is not None and record["code"] == 0 and record["config"] == _fingerprint(cell.config)


def _fingerprint(config: Config) -> str:
    train = config.train.model_copy(update={"rollout_workers": 1})
    text = dump_config(config.model_copy(update={"threads": None, "train": train}))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _save(config: Config, path: Path) -> None:
    write_text(path, dump_config(config).rstrip("\n"))


def _guard(output: Path) -> WriteGuard:
    return WriteGuard(f"benchmark folder {output}")


def _warm_name(task: str) -> str:
    return f"{task}/warm-start"


def _environment(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}
