"""One alarm for every deadline of the process: it rings in time for each, and never behind one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from himac.envs.deadline import Deadline, LateError


def late(deadline: Deadline, seconds: float) -> float | None:
    """When the interruption came, or `None`."""
    started = time.monotonic()
    try:
        deadline.start()
        time.sleep(seconds)
        deadline.stop()
    except LateError:
        deadline.stop()
        return time.monotonic() - started
    return None


def test_a_request_is_interrupted_in_time() -> None:
    came = late(Deadline(0.2), 30.0)
    assert came is not None
    assert 0.19 < came < 2.0


def test_what_comes_in_time_is_left_alone_and_so_is_the_next() -> None:
    """The alarm of the first request rings during the second, which has its own time."""
    deadline = Deadline(0.4)
    assert late(deadline, 0.25) is None
    assert late(deadline, 0.25) is None
    time.sleep(0.6)  # rings for nobody
    assert late(deadline, 0.0) is None


def test_a_short_limit_is_kept_beside_a_long_one() -> None:
    assert late(Deadline(60.0), 0.0) is None
    came = late(Deadline(0.2), 30.0)
    assert came is not None
    assert came < 2.0


def test_code_that_catches_errors_is_interrupted_all_the_same() -> None:
    deadline = Deadline(0.1)

    def careless() -> None:
        deadline.start()
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    with pytest.raises(LateError, match=r"within 0.1 s; .*env.timeout_s"):
        careless()
    deadline.stop()


def test_another_thread_has_no_deadline_and_sets_none() -> None:
    came = list[float | None]()
    thread = threading.Thread(target=lambda: came.append(late(Deadline(0.05), 0.2)))
    thread.start()
    thread.join()
    assert came == [None]


def test_no_alarm_rings_while_the_interpreter_shuts_down() -> None:
    """Python gives signals back to the system before it takes modules apart, which may last."""
    code = """
import time
from himac.envs.deadline import Deadline

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.6)

last = Slow()
deadline = Deadline(0.3)
deadline.start()
deadline.stop()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
