"""Everything that is told of a run while it trains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from himac.errors import DataError, MissingDependencyError
from himac.report.episodes import episode_markdown, pick_examples
from himac.report.results import TOLD, Record, read_jsonl
from himac.trackers.apart import Apart
from himac.trackers.base import TRACKERS, About
from himac.trackers.tensorboard import TensorBoard

TENSORBOARD = "tensorboard"
FOLDER = "trackers"


def check_trackers(names: Sequence[str]) -> None:
    """See to it that they exist, and the packages that they need.

    Raises:
        ConfigError: there is no tracker of this name.
        MissingDependencyError: its package is not installed.
    """
    for name in names:
        if name == TENSORBOARD:
            continue
        if name not in TRACKERS.names():
            TRACKERS.load(name)
        if name in TRACKERS.builtin and find_spec(name) is None:
            raise MissingDependencyError(f"tracker '{name}' is not installed; run: pip install 'himac[{name}]'")


class Board:
    """The trackers of a run. A tracker that fails, hangs or is offline is given up with a warning.

    Args:
        config: Dotted key -> value.
        resumed_at: Environment steps of the checkpoint a run continues from.
        warn: Gets a sentence.
    """

    def __init__(
        self,
        names: Sequence[str],
        run_dir: Path,
        config: Mapping[str, Any],
        resumed_at: int | None,
        warn: Callable[[str], object],
    ) -> None:
        self._run_dir, self._warn = run_dir, warn
        self._files = TensorBoard(run_dir, resumed_at) if TENSORBOARD in names else None
        place = run_dir.resolve()
        key = hashlib.blake2b(str(place).encode(), digest_size=8).hexdigest()
        about = About(place.name, key, str(place), config)
        logs = {name: run_dir / FOLDER / f"{name}.log" for name in names if name != TENSORBOARD}
        self._apart = [Apart(name, about, log) for name, log in logs.items()]
        self._evaluated: Record | None = None

    def add(self, entry: Record) -> None:
        """Tell a line of `metrics.jsonl`, and examples of the evaluation before it, whose episodes are written now."""
        self._examples()
        if self._files is not None and (fault := self._files.add(entry)):
            self._files = None
            self._warn(fault)
        values = {f"{entry['phase']}/{key}": value for key, value in entry.items() if isinstance(value, float)}
        self._send({"values": values, "step": entry["env_steps"]})
        if entry["kind"] == "eval":
            self._evaluated = entry

    def close(self) -> None:
        """Wait, for a bounded time, until everything is told."""
        self._examples()
        if self._files is not None:
            self._files.close()
        for tracker in self._apart:
            if fault := tracker.close():
                self._warn(fault)

    def _examples(self) -> None:
        entry, self._evaluated = self._evaluated, None
        if entry is None or not self._apart:
            return
        path = self._run_dir / "eval" / f"iteration-{entry['iteration']:06d}" / "results.jsonl"
        try:
            told = [episode_markdown(record) for record in pick_examples(read_jsonl(path, TOLD))]
        except DataError:
            return  # training was interrupted before they were written
        if told:
            self._send({"text": "\n\n".join(told), "step": entry["env_steps"]})

    def _send(self, message: Mapping[str, Any]) -> None:
        for tracker in list(self._apart):
            if fault := tracker.send(message):
                self._apart.remove(tracker)
                self._warn(fault)
