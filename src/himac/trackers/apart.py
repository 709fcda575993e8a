"""A tracker's process as training sees it: telling it something never waits, and its end is a warning at most."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from himac.trackers.base import About

_WAITING = 10_000
_LAST_S = 30.0


class Apart:
    """Starts `python -m himac.trackers NAME` and tells it of the run.

    Args:
        log: File that gets what the tracker prints.
        last_s: How long the end of the run waits for what is still to be sent.
    """

    def __init__(self, name: str, about: About, log: Path, last_s: float = _LAST_S) -> None:
        self.name, self._log, self._last_s = name, log, last_s
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "himac.trackers", name],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C ends training, which lets the tracker send what it has
            )
        self._told = threading.Thread(target=self._tell, daemon=True)
        self._told.start()
        self.send(asdict(about))

    def send(self, message: Mapping[str, Any]) -> str | None:
        """Pass a message on; returns why the tracker is given up, if it is."""
        try:
            self._lines.put_nowait(json.dumps(message) + "\n")
        except queue.Full:
            return self._given_up("it takes nothing any more")
        return self._fault()

    def close(self) -> str | None:
        """Let it end; returns what went wrong."""
        try:
            self._lines.put_nowait(None)
            code = self._process.wait(self._last_s)
        except (queue.Full, subprocess.TimeoutExpired):
            return self._given_up(f"it did not end within {self._last_s:.0f} s, what it had not sent is lost")
        return self._fault() if code else None

    def _tell(self) -> None:
        """In a thread, since a process that hangs does not read."""
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                while (line := self._lines.get()) is not None:
                    pipe.write(line)
                    pipe.flush()
        except (OSError, ValueError):
            pass  # it has ended, which `send` and `close` tell

    def _fault(self) -> str | None:
        code = self._process.poll()
        return None if code is None else self._given_up(f"it ended with code {code}{self._last_words()}")

    def _given_up(self, why: str) -> str:
        self._process.kill()
        self._process.wait()
        return f"tracker '{self.name}' is given up: {why}; metrics.jsonl has everything (see {self._log})"

    def _last_words(self) -> str:
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip()})" if lines else ""
