"""MLflow. Where it keeps runs is `MLFLOW_TRACKING_URI`, the experiment `MLFLOW_EXPERIMENT_NAME`, else himac."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from himac.trackers.base import About

_CHARACTERS = 500
_AT_ONCE = 100


class Tracker:
    """A run; that of a resumed training is another one with the same tag `himac.run`."""

    def __init__(self, about: About) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "himac"))
        self._mlflow.start_run(run_name=about.name, tags={"himac.run": about.key})
        settings = [(key, str(value)[:_CHARACTERS]) for key, value in about.config.items()]
        for start in range(0, len(settings), _AT_ONCE):
            self._mlflow.log_params(dict(settings[start : start + _AT_ONCE]))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics({re.sub(r"[^\w./ -]", "_", key): value for key, value in values.items()}, step=step)

    def episodes(self, text: str, step: int) -> None:
        self._mlflow.log_text(text, f"episodes/{step:09d}.md")

    def close(self) -> None:
        self._mlflow.end_run()
