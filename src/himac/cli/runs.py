"""What a run directory stands for where a configuration and a model are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from himac.config import Config
from himac.config_file import difference, load_config
from himac.errors import ConfigError, ModelError
from himac.evaluation.plan import MAY_CHANGE, RESULTS, Plan
from himac.models.folder import pointed
from himac.report.results import TOLD, read_jsonl

_CONFIG, _CHECKPOINTS = "config.yaml", "checkpoints"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A configuration file with its model, or those of a run.

    Attributes:
        model: `None` is the configuration's own.
        run: The run directory, when the model is one of its checkpoints.
    """

    config: Path
    model: Path | None
    run: Path | None = None

    @property
    def output(self) -> Path | None:
        """Where the evaluation of a checkpoint is kept: every checkpoint of a run has its own."""
        return self.run / "eval" / self.model.name if self.run and self.model else None

    def played(self, config: Config, plan: Plan) -> Path | None:
        """The results of the plan's first round, when training has played the very same episodes at this checkpoint."""
        ended = re.fullmatch(r"step-(\d+)-0", self.model.name) if self.model else None
        if self.run is None or ended is None or plan.blueprints != "planner":
            return None
        path = self.run / "eval" / f"iteration-{ended[1]}" / RESULTS
        trained = load_config(self.config)
        same = trained.eval.temperature == plan.temperature and not difference(trained, config, (*MAY_CHANGE, "train"))
        if not same or not path.is_file():
            return None
        told = [(line["task_id"], line.get("split_hash")) for line in read_jsonl(path, TOLD)]
        return path if told == [(task.id, plan.split_hash) for task in plan.tasks] else None


def choose(config: Path, model: Path | None) -> Chosen:
    """A run directory is its configuration and its latest checkpoint, `RUN@30` that of iteration 30.

    Raises:
        ConfigError: the directory holds no run.
        ModelError: it has no checkpoint, or not that one.
    """
    at = re.fullmatch(r"(.+)@(\d+)", str(config))
    if at is not None and not config.exists():
        config = Path(at[1])
        model = model or _checkpoint(config, int(at[2]))
    if not config.is_dir():
        return Chosen(config, model)
    if not (config / _CONFIG).is_file():
        raise ConfigError(f"{config} holds no run (no {_CONFIG}); give a configuration or a directory of `himac train`")
    model = model or pointed(config / _CHECKPOINTS / "latest")
    own = model.resolve().parent == (config / _CHECKPOINTS).resolve()
    return Chosen(config / _CONFIG, model, config if own else None)


def _checkpoint(run: Path, iteration: int) -> Path:
    """The checkpoint of a run at the start of an iteration."""
    folder = run / _CHECKPOINTS
    path = folder / f"step-{iteration:06d}-0"
    if not path.is_dir():
        names = (re.fullmatch(r"step-(\d+)-0", one.name) for one in folder.glob("step-*"))
        kept = ", ".join(map(str, sorted(int(name[1]) for name in names if name))) or "none"
        raise ModelError(
            f"{run} keeps no checkpoint of iteration {iteration}, only of: {kept}; choose one of them, or raise "
            "train.keep_checkpoints before training"
        )
    return path
