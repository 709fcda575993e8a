"""`himac export`: the policy of a run as a model directory of its own, or its episodes for other viewers."""

from __future__ import annotations

from pathlib import Path

from himac.cli.console import console
from himac.cli.runs import choose
from himac.config import Config
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.models.folder import is_adapter
from himac.rollout.runtime import check_model_path


def export_command(run: Path, output: Path | None, checkpoint: Path | None, merge: bool) -> None:
    """Write the weights and the tokenizer of a checkpoint, without what only training needs."""
    if output is None:
        raise ConfigError("give the directory to create: himac export RUN DIR")
    if output.exists():
        raise ConfigError(f"{output} exists already; choose a new directory or remove it")
    chosen = choose(run, checkpoint)
    if chosen.config == run or chosen.model is None:
        raise ConfigError(f"there is no run directory {run}; give a directory of `himac train`")
    check_model_path(str(chosen.model))
    _write(load_config(chosen.config), chosen.model, output, merge)
    kind = "adapter" if is_adapter(output) else "model"
    console.print(f"{kind} of {chosen.model} -> {output}")


def inspect_command(path: Path, output: Path | None) -> None:
    """Write the logs of every run in or below the path for Inspect AI."""
    from himac.report.inspect_log import export_run
    from himac.report.runs import find_runs, read_runs

    folder = output or path / "inspect"
    count = sum(len(export_run(run, folder)) for run in read_runs(find_runs([path])))
    console.print(f"{count} logs in {folder}: inspect view --log-dir {folder}")


def _write(config: Config, model: Path, output: Path, merge: bool) -> None:
    from himac.models.policy import Policy
    from himac.training.checkpoint import save_model

    policy = Policy.load(model, config.model.model_copy(update={"device": "cpu"}))
    save_model(output, policy.model, policy.tokenizer, merge=merge)
