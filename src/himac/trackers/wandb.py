"""Weights & Biases. The project is `WANDB_PROJECT`, else himac; its other variables (`WANDB_MODE=offline`) hold too."""

from __future__ import annotations

import os
from collections.abc import Mapping

from himac.trackers.base import About


class Tracker:
    """A run that a resumed training continues."""

    def __init__(self, about: About) -> None:
        import wandb

        self._table = wandb.Table
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "himac"),
            id=about.key,
            name=about.name,
            dir=about.folder,
            config=dict(about.config),
            resume="allow",
        )
        self._run.define_metric("*", step_metric="env_steps")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "env_steps": step})

    def episodes(self, text: str, step: int) -> None:
        table = self._table(columns=["env_steps", "episodes"], data=[[step, text]])
        self._run.log({"episodes": table, "env_steps": step})

    def close(self) -> None:
        self._run.finish()
