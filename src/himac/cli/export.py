"""`himac export`: the policy of a run as a model directory of its own."""

from __future__ import annotations

from pathlib import Path

from himac.cli.console import console
from himac.cli.runs import choose
from himac.config import Config
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.models.folder import is_adapter
from himac.rollout.runtime import check_model_path


def export_command(run: Path, output: Path, checkpoint: Path | None, merge: bool) -> None:
    """Write the weights and the tokenizer of a checkpoint, without what only training needs."""
    if output.exists():
        raise ConfigError(f"{output} exists already; choose a new directory or remove it")
    chosen = choose(run, checkpoint)
    if chosen.config == run or chosen.model is None:
        raise ConfigError(f"there is no run directory {run}; give a directory of `himac train`")
    check_model_path(str(chosen.model))
    _write(load_config(chosen.config), chosen.model, output, merge)
    kind = "adapter" if is_adapter(output) else "model"
    console.print(f"{kind} of {chosen.model} -> {output}")


def _write(config: Config, model: Path, output: Path, merge: bool) -> None:
    from himac.models.policy import Policy
    from himac.train.checkpoint import save_model

    policy = Policy.load(model, config.model.model_copy(update={"device": "cpu"}))
    save_model(output, policy.model, policy.tokenizer, merge=merge)
