"""Interrupts environments that do not answer, in the process in which they run."""

from __future__ import annotations

import atexit
import math
import signal
import threading
from time import monotonic
from types import FrameType

_AGAIN_S = 1.0
_main = threading.main_thread().ident if hasattr(signal, "setitimer") else None
_running: Deadline | None = None
_alarm_at = math.inf
"""When the process's one alarm rings. It is set for the first request and moved when it rings too early for a later
one: a system call for each would cost more than many steps do."""


class LateError(BaseException):
    """An environment did not answer in time. Not an `Exception`, which an environment may catch and go on."""


class Deadline:
    """A limit for one request after the other.

    It rests on SIGALRM, so it works in the main thread of a Unix process and interrupts Python code and system calls.
    What it cannot interrupt is a library that computes on and on without returning to Python; environments like
    that belong into worker processes, which can be killed. Elsewhere it does nothing.

    Args:
        seconds: From `start` to `stop`. After that `LateError` is raised, again every second until `stop`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since = 0.0
        if threading.get_ident() == _main:
            signal.signal(signal.SIGALRM, _ring)

    def start(self) -> None:
        """From now on."""
        global _running
        if threading.get_ident() == _main:
            self.since = now = monotonic()
            _running = self
            if not now <= _alarm_at <= now + self.seconds:
                _ring_in(self.seconds)

    def stop(self) -> None:
        """It came in time, or not; call it again when it raised `LateError` itself."""
        global _running
        if threading.get_ident() == _main:
            _running = None


def _ring_in(seconds: float) -> None:
    global _alarm_at
    _alarm_at = monotonic() + seconds
    signal.setitimer(signal.ITIMER_REAL, seconds)


@atexit.register
def _silence() -> None:
    """An alarm that rings while the interpreter shuts down, when nobody hears it any more, kills the process."""
    if _alarm_at < math.inf:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ring(number: int, frame: FrameType | None) -> None:
    global _alarm_at
    _alarm_at = math.inf
    if _running is None:
        return
    left = _running.since + _running.seconds - monotonic()
    _ring_in(left if left > 0 else _AGAIN_S)
    if left <= 0:
        raise LateError(
            f"the environment did not answer within {_running.seconds:g} s; repair it or raise env.timeout_s."
        )
