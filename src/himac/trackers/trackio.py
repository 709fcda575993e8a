"""Trackio, on this machine unless `TRACKIO_SPACE_ID` names a Space; the project is `TRACKIO_PROJECT`, else himac."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from himac.trackers.base import About


class Tracker:
    """A run that a resumed training continues."""

    def __init__(self, about: About) -> None:
        import trackio

        self._trackio: Any = trackio
        project = os.environ.get("TRACKIO_PROJECT", "himac")
        self._trackio.init(
            project=project, name=f"{about.name}-{about.key[:6]}", config=dict(about.config), resume="allow"
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(values), step=step)

    def episodes(self, text: str, step: int) -> None:
        self._trackio.log({"episodes": self._trackio.Markdown(text)}, step=step)

    def close(self) -> None:
        self._trackio.finish()
