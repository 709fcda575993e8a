"""Worker processes of the environment pool, and the environments in them.

One thread of the parent talks to each worker and hands it one request at a time. The worker is therefore always
reading when something is sent (no pipe can fill up from both sides). A worker interrupts an environment that is late
itself; when it cannot, the thread kills the worker, answers for it and starts another with the next request.
"""

from __future__ import annotations

import copy
import ctypes
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import gymnasium

from himac.envs.answer import EnvResult, checked, failed
from himac.envs.deadline import Deadline
from himac.envs.snapshot import restore, snapshot

AnyEnv = gymnasium.Env[Any, Any]
Command = (
    tuple[Literal["reset"], Mapping[str, Any] | None, int]
    | tuple[Literal["step"], Any]
    | tuple[Literal["clone"]]
    | tuple[Literal["restore"], bytes]
)

_PR_SET_PDEATHSIG = 1
STARTUP_S = 120.0
"""How long a worker may take to start and import its environments."""
GRACE_S = 3.0
"""How long a worker may take to interrupt its environment, beyond the time that the environment has."""


@dataclass(frozen=True, slots=True, eq=False)
class EnvHandle:
    """Names one environment of a pool from `acquire` to `release`."""

    slot: int
    worker: int


class EnvHost:
    """Environments by slot; whatever one of them raises, returns or fails to return becomes a result.

    Args:
        timeout_s: Seconds a request may take; see `Deadline` for what it can interrupt.
        max_characters: Longer texts are cut.
    """

    def __init__(self, make_env: Callable[[], AnyEnv], timeout_s: float, max_characters: int) -> None:
        self.make_env = make_env
        self.envs: dict[int, AnyEnv] = {}
        self._deadline = Deadline(timeout_s)
        self._max_characters = max_characters

    def run(self, slot: int, command: Command) -> EnvResult:
        try:
            self._deadline.start()
            result = self._answer(slot, command)
            self._deadline.stop()
            return result
        except BaseException as error:
            self._deadline.stop()
            if isinstance(error, KeyboardInterrupt):  # the user's, not the environment's
                raise
            told = traceback.format_exc()
            self._give_up(slot)
            return failed(told)

    def _answer(self, slot: int, command: Command) -> EnvResult:
        env = self.envs.get(slot)
        if command[0] in ("step", "clone") and env is None:
            return failed(f"{command[0]} before reset: the environment is new, or was given up after an error.")
        if env is None:
            env = self.envs[slot] = self.make_env()
        if command[0] == "step":
            return checked(env.step(command[1]), True, self._max_characters)
        if command[0] == "clone":
            return EnvResult("", 0.0, False, False, state=snapshot(env))
        if command[0] == "restore":
            restore(env, command[1])
            return EnvResult("", 0.0, False, False)
        # A copy, as in another process: what an environment does to the options stays with it.
        options = None if command[1] is None else copy.deepcopy(dict(command[1]))
        # The one place that fits derived seeds to what environments take: not negative, at most 31 bits.
        return checked(env.reset(seed=command[2] % 2**31, options=options), False, self._max_characters)

    def _give_up(self, slot: int) -> None:
        env = self.envs.pop(slot, None)
        if env is not None:
            try:
                self._deadline.start()
                env.close()
                self._deadline.stop()
            except BaseException as error:
                # It is broken already; the error that made it so is the one to report.
                self._deadline.stop()
                if isinstance(error, KeyboardInterrupt):
                    raise

    def close(self) -> None:
        for slot in list(self.envs):
            self._give_up(slot)


def end_with_parent(thread_lasts: bool = False) -> None:
    """From now on this process ends when the one that started it is gone, however that ended.

    Args:
        thread_lasts: The thread that started this process lasts as long as this process shall. Then Linux ends it, even
            where a library computes on and on and no other thread gets its turn.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    if thread_lasts and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="himac-parent-watch", daemon=True).start()


def _worker_main(connection: Connection, pickled_make_env: bytes, timeout_s: float, max_characters: int) -> None:
    """A worker process: announce itself, then answer one request after another until the pipe closes."""
    # Ctrl-C reaches the whole process group; the parent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(thread_lasts=True)
    try:
        host = EnvHost(pickle.loads(pickled_make_env), timeout_s, max_characters)
    except Exception:
        connection.send(traceback.format_exc())
        return
    connection.send(None)
    try:
        while True:
            slot, command = connection.recv()
            connection.send(host.run(slot, command))
    except (EOFError, OSError):
        host.close()


class WorkerDeathError(Exception):
    """The message says how; caught inside this module."""


Request = tuple[EnvHandle, Command]
Delivery = tuple[EnvHandle, EnvResult]


class Worker:
    """One worker process and the thread that talks to it."""

    def __init__(
        self,
        pickled_make_env: bytes,
        timeout_s: float,
        max_characters: int,
        results: queue.SimpleQueue[Delivery],
    ) -> None:
        self._arguments = (pickled_make_env, timeout_s, max_characters)
        self._timeout_s = timeout_s
        self._results = results
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._process: Any = None
        self._connection: Connection | None = None
        self._ready = False
        self.held = 0
        self.free_slots: list[int] = []
        self._thread = threading.Thread(target=self._serve, name="himac-env-worker", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def submit(self, handle: EnvHandle, command: Command) -> None:
        self._requests.put((handle, command))

    def _serve(self) -> None:
        try:
            self._start()
        except Exception:
            # Started again, and reported, with the first request.
            self._end()
        while (request := self._requests.get()) is not None:
            handle, command = request
            try:
                result = self._exchange(handle.slot, command)
            except Exception as error:
                self._end()
                cause = str(error) if isinstance(error, WorkerDeathError) else traceback.format_exc()
                self._fail_all(handle, cause)
                continue
            self._results.put((handle, result))
        self._end()

    def _fail_all(self, handle: EnvHandle, cause: str) -> None:
        """Answer the request under way and all that wait behind it; their environments are gone."""
        self._results.put((handle, failed(cause)))
        closing = False
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            if request is None:
                closing = True
            else:
                self._results.put((request[0], failed(cause)))
        if closing:
            self._requests.put(None)

    def _exchange(self, slot: int, command: Command) -> EnvResult:
        if self._process is None:
            self._start()
        connection = self._connection
        assert connection is not None
        try:
            if not self._ready:
                if not connection.poll(STARTUP_S):
                    raise WorkerDeathError(f"the environment worker was not ready after {STARTUP_S:g} s.")
                problem = connection.recv()
                if problem is not None:
                    raise WorkerDeathError(f"the environment worker could not load make_env:\n{problem}")
                self._ready = True
            try:
                message = pickle.dumps((slot, command))
            except Exception as error:
                return failed(f"the request cannot be sent between processes ({error}).")
            connection.send_bytes(message)
            if not connection.poll(self._timeout_s + GRACE_S):
                raise WorkerDeathError(
                    f"the environment did not answer within {self._timeout_s:g} s; its worker was killed."
                )
            result: EnvResult = connection.recv()
            return result
        except (EOFError, OSError):
            raise WorkerDeathError(self._obituary()) from None

    def _obituary(self) -> str:
        self._process.join(1.0)
        code = self._process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        hint = (
            "" if self._ready else " before it was ready (a script needs `if __name__ == '__main__':` around its work)"
        )
        return f"the environment's worker process died{hint}: {how}."

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_worker_main, args=(theirs, *self._arguments), name="himac-env-worker", daemon=True
        )
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        with self._lock:
            self._process, self._connection, self._ready = process, ours, False
            if self._closed:
                process.kill()

    def _end(self) -> None:
        """Close the pipe, which ends a healthy worker, and kill one that does not go."""
        with self._lock:
            process, connection, healthy = self._process, self._connection, self._ready
            self._process, self._connection, self._ready = None, None, False
        if connection is not None:
            connection.close()
        if process is not None:
            if healthy and self._closed:
                process.join(1.0)
            process.kill()
            process.join()

    def close(self) -> None:
        """Ask the thread to end; a request under way is given up."""
        self._closed = True
        self._requests.put(None)

    def kill_if_busy(self, deadline: float) -> None:
        """Wait for the thread until `deadline` (monotonic seconds), then take its process away."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._thread.join(5.0)
