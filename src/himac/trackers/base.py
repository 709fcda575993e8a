"""What a tracker is: something outside himac that is told the figures of a run while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from himac.plugins import Registry

TRACKERS = Registry(
    "tracker", "himac.trackers", {name: f"himac.trackers.{name}:Tracker" for name in ("wandb", "mlflow", "trackio")}
)
"""Besides `tensorboard`, whose files himac writes itself."""


@dataclass(frozen=True, slots=True)
class About:
    """The run that is told of.

    Attributes:
        key: The same for the same run directory, also after a resume.
        config: Dotted key -> value.
    """

    name: str
    key: str
    folder: str
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Made with an `About`. It runs in a process of its own: whatever it does there, training goes on."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Figures by name, such as `eval/success`.

        Args:
            step: Environment steps; a resumed run goes back to those of its checkpoint.
        """
        ...

    def episodes(self, text: str, step: int) -> None:
        """Example episodes as Markdown."""
        ...

    def close(self) -> None:
        """The run ends; everything is sent when this returns."""
        ...
