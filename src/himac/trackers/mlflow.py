"""MLflow. Where it keeps runs is `MLFLOW_TRACKING_URI`, the experiment `MLFLOW_EXPERIMENT_NAME`, else himac."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import mlflow

from himac.trackers.base import About

_CHARACTERS = 500
_AT_ONCE = 100


class Tracker:
    """A run; that of a resumed training is another one with the same tag `himac.run`."""

    def __init__(self, about: About) -> None:
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "himac"))
        mlflow.start_run(run_name=about.name, tags={"himac.run": about.key})
        settings = [(key, str(value)[:_CHARACTERS]) for key, value in about.config.items()]
        for start in range(0, len(settings), _AT_ONCE):
            mlflow.log_params(dict(settings[start : start + _AT_ONCE]))

    def log(self, values: Mapping[str, float], step: int) -> None:
        mlflow.log_metrics({re.sub(r"[^\w./ -]", "_", key): value for key, value in values.items()}, step=step)

    def episodes(self, text: str, step: int) -> None:
        mlflow.log_text(text, f"episodes/{step:09d}.md")

    def close(self) -> None:
        mlflow.end_run()
