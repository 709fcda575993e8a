"""Requests that something outside of this thread answers, one future each."""

from __future__ import annotations

import queue
from collections.abc import Hashable, Iterator
from concurrent.futures import Future

from himac.engines.base import Completion, GenerateRequest

_WAIT_S = 0.02
"""Longest wait of a step: environments that answer meanwhile are seen to after it."""


class Pending:
    """What is under way."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[GenerateRequest, Future[Completion]]] = {}
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __bool__(self) -> bool:
        return bool(self._running)

    def add(self, serial: int, request: GenerateRequest, future: Future[Completion]) -> None:
        """Await an answer."""
        self._running[serial] = request, future
        future.add_done_callback(lambda _: self._done.put(serial))

    def finished(self, *, wait: bool) -> Iterator[tuple[int, Future[Completion]]]:
        """Those that have been answered, or failed; on request after a moment in which the first one may come."""
        wait = wait and bool(self._running)
        while True:
            try:
                serial = self._done.get(timeout=_WAIT_S) if wait else self._done.get_nowait()
            except queue.Empty:
                return
            wait = False
            if serial in self._running:  # else it was released
                yield serial, self._running.pop(serial)[1]

    def release(self, session: Hashable) -> None:
        """Cancel what a session waits for."""
        for serial, (request, future) in list(self._running.items()):
            if request.session == session:
                del self._running[serial]
                future.cancel()

    def cancel(self) -> None:
        """Cancel everything."""
        for _, future in self._running.values():
            future.cancel()
        self._running.clear()
