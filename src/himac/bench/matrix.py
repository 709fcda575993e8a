"""A matrix of runs, described by one YAML file: methods x tasks x seeds at one budget of environment steps."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from himac.config import Config
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.files import SETTINGS_BYTES, parse_yaml, read_text
from himac.settings import Positive
from himac.shipped import suggestion

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
"""Methods and tasks name folders."""

Overrides = dict[str, Any]
"""Dotted configuration keys and their values, as on the command line: a value replaces what was there."""

_KIND = "kind"
_OWN = {"train.env_steps": "env_steps", "train.iterations": "iterations", "threads": "threads"}
"""Configuration keys that are the same in every cell, and the matrix's own keys for them."""
_SHAPES = {
    "hierarchical": ("planner.sees_observation", "executor.sees_task", "executor.repeat_subgoal", "executor.sub_done"),
    "flat": ("flat.repeat_task", "flat.thoughts"),
    "hiper": ("hiper.repeat_task", "hiper.restate"),
}
"""Keys below `agent` that change what an agent's demonstrations look like."""


class Matrix(BaseModel):
    """The file. Overrides are applied in the order shared, method, task; seed and budget come last.

    Attributes:
        base: Configuration file, relative to the matrix file.
        methods: Overrides of each method. Its key `kind: eval` makes cells that are evaluated without training.
        env_steps: Environment steps of training in a cell.
        iterations: Training ends there too: a planner that writes no valid blueprint takes no environment step.
        jobs: Cells at a time; by default as many as the cores allow.
        threads: Of one process.
        cores: All processes together; by default those of the machine.
        reference: Method that the others are compared with.
        ablations: Label -> method, the rows of the ablation table.
        targets: Success by task, for the table of steps to a target.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    overrides: Overrides = Field(default_factory=dict)
    methods: Annotated[dict[Name, Overrides], Field(min_length=1)]
    tasks: Annotated[dict[Name, Overrides], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    env_steps: Positive
    iterations: Positive = 1000
    jobs: Positive | None = None
    threads: Positive = 1
    cores: Positive | None = None
    reference: str | None = None
    ablations: dict[str, str] = Field(default_factory=dict)
    targets: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_no_overrides(cls, tree: Any) -> Any:
        """`grpo:` with nothing behind it is a method without overrides."""
        if not isinstance(tree, dict):
            return tree
        sections = {key: tree[key] for key in ("methods", "tasks") if isinstance(tree.get(key), dict)}
        return tree | {key: {name: value or {} for name, value in named.items()} for key, named in sections.items()}

    @model_validator(mode="after")
    def _names_exist(self) -> Matrix:
        for name in (*self.ablations.values(), *([self.reference] if self.reference else [])):
            if name not in self.methods:
                raise ValueError(f"'{name}' is no method; methods are {', '.join(self.methods)}")
        for name in self.targets:
            if name not in self.tasks:
                raise ValueError(f"target of '{name}', which is no task; tasks are {', '.join(self.tasks)}")
        for chosen in (self.overrides, *self.methods.values(), *self.tasks.values()):
            for key in chosen.keys() & _OWN:
                raise ValueError(f"'{key}' is the same for all runs; set the matrix's own key '{_OWN[key]}'")
        for method, overrides in self.methods.items():
            if overrides.get(_KIND, "train") not in ("train", "eval"):
                raise ValueError(f"kind of method '{method}' is '{overrides[_KIND]}', not train or eval")
        return self

    def kind(self, method: str) -> Literal["train", "eval"]:
        """What a method's cells do."""
        return "eval" if self.methods[method].get(_KIND) == "eval" else "train"

    def slots(self, configs: Iterable[Config] = ()) -> int:
        """Cells at a time within the cores, whichever of these they are."""
        cores = self.cores or available_cores()
        most = max(
            (self.threads * one.train.rollout_workers + one.env.workers for one in configs), default=self.threads
        )
        return max(1, min(self.jobs or cores, cores // most))


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the matrix."""

    task: str
    method: str
    seed: int
    kind: Literal["train", "eval"]
    config: Config

    @property
    def name(self) -> str:
        return cell_name(self.task, self.method, self.seed)


def cell_name(task: str, method: str, seed: int) -> str:
    """Also the cell's folder below `runs`."""
    return f"{task}/{method}/seed-{seed}"


def load_matrix(path: Path) -> Matrix:
    """Read a matrix file.

    Raises:
        ConfigError: it is missing, no YAML, or a key or value is wrong.
    """
    try:
        tree = parse_yaml(read_text(path, SETTINGS_BYTES))
    except OSError as error:
        raise ConfigError(f"cannot read matrix {path}: {error.strerror or error}; {suggestion(path)}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read matrix {path}: {error}; check the file") from error
    try:
        return Matrix.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "matrix"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"matrix {path}, '{key}': {message}; see docs/bench.md") from error


def expand(
    matrix: Matrix, folder: Path, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> tuple[list[Cell], dict[str, Config]]:
    """The cells, seed by seed, and for every task that needs one the configuration of its shared warm start.

    Args:
        folder: Where `base` is relative to.
        only: Methods to run; all by default. The warm start is the same whatever is chosen.
        seeds: In place of the matrix's.

    Raises:
        ConfigError: an unknown method, or overrides that are no valid configuration.
    """
    for name in only:
        if name not in matrix.methods:
            raise ConfigError(f"the matrix has no method '{name}'; choose from {', '.join(matrix.methods)}")
    base = folder / matrix.base
    configs = {
        (task, method): _resolve(matrix, base, task, method) for task in matrix.tasks for method in matrix.methods
    }
    cells = [
        Cell(task, method, seed, matrix.kind(method), configs[task, method].model_copy(update={"seed": seed}))
        for seed in dict.fromkeys(seeds or matrix.seeds)
        for task in matrix.tasks
        for method in matrix.methods
        if not only or method in only
    ]
    shared = {cell.task for cell in cells if starts_warm(cell.config)}
    warm = {task: _warm_start(matrix, base, task, configs) for task in matrix.tasks if task in shared}
    return cells, warm


def _resolve(matrix: Matrix, base: Path, task: str, method: str) -> Config:
    own = {key: value for key, value in matrix.methods[method].items() if key != _KIND}
    same = {key: getattr(matrix, name) for key, name in _OWN.items()}  # last: a section may have replaced them
    try:
        config = load_config(base, [*_lines(matrix.overrides, own, matrix.tasks[task], same)])
    except ConfigError as error:
        raise ConfigError(f"method '{method}' on task '{task}': {error}") from error
    if matrix.kind(method) == "train" and config.train.eval_every == 0:
        raise ConfigError(
            f"method '{method}' on task '{task}' is evaluated at its end only, which gives no success at the common "
            "budget; set train.eval_every above 0"
        )
    return config


def _warm_start(matrix: Matrix, base: Path, task: str, configs: dict[tuple[str, str], Config]) -> Config:
    """Shared and task overrides only, with the formats of all methods that train from it."""
    chosen = (matrix.overrides, matrix.tasks[task])
    formats: Overrides = {}
    trained = {m: config for (t, m), config in configs.items() if t == task and matrix.kind(m) == "train"}
    trained = {method: config for method, config in trained.items() if starts_warm(config)}
    if not any("warmstart.formats" in one or "formats" in (one.get("warmstart") or {}) for one in chosen):
        agents = list(dict.fromkeys(config.agent.name for config in trained.values()))
        formats = {"warmstart.formats": agents} if agents else {}
    shared = load_config(base, [*_lines({"threads": matrix.threads}, *chosen, formats)])
    for method, config in trained.items():
        for key in _SHAPES[config.agent.name]:
            own, common = (attrgetter(key)(one.agent) for one in (config, shared))
            # The ablation without <sub_done> is one of execution: the model knows the marker and it is not offered.
            if own != common and not (key == "executor.sub_done" and not own):
                raise ConfigError(
                    f"method '{method}' on task '{task}' sets agent.{key} to {own}, but its shared warm start is "
                    f"demonstrated with {common}; set it in `overrides`, or give the method a matrix of its own"
                )
    return shared


def starts_warm(config: Config) -> bool:
    """Whether a run needs a model made and warm-started for it: it names none and asks no endpoint."""
    return not config.model.path and config.engine.can.weights


def _lines(*sections: Overrides) -> Iterator[str]:
    """`key=value` for `load_config`; JSON is YAML."""
    for section in sections:
        yield from (f"{key}={json.dumps(value)}" for key, value in section.items())


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
