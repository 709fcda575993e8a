"""Trackio, on this machine unless `TRACKIO_SPACE_ID` names a Space; the project is `TRACKIO_PROJECT`, else himac."""

from __future__ import annotations

import os
from collections.abc import Mapping

import trackio

from himac.trackers.base import About


class Tracker:
    """A run that a resumed training continues."""

    def __init__(self, about: About) -> None:
        project = os.environ.get("TRACKIO_PROJECT", "himac")
        trackio.init(project=project, name=f"{about.name}-{about.key[:6]}", config=dict(about.config), resume="allow")

    def log(self, values: Mapping[str, float], step: int) -> None:
        trackio.log(dict(values), step=step)

    def episodes(self, text: str, step: int) -> None:
        trackio.log({"episodes": trackio.Markdown(text)}, step=step)

    def close(self) -> None:
        trackio.finish()
