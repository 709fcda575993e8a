"""Many environments that advance together, in this process or in worker processes."""

from __future__ import annotations

import pickle
import queue
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from himac.envs.answer import MAX_CHARACTERS, EnvResult
from himac.envs.worker import AnyEnv, Command, Delivery, EnvHandle, EnvHost, Worker
from himac.errors import ConfigError

__all__ = ["Command", "EnvHandle", "EnvPool", "EnvResult"]
_REQUESTS = ("reset", "step", "clone", "restore")


def _close_workers(workers: list[Worker]) -> None:
    for worker in workers:
        worker.close()
    deadline = time.monotonic() + 2.0
    for worker in workers:
        worker.kill_if_busy(deadline)


@dataclass(slots=True)
class _Local:
    """The environments of this process and the results nobody has fetched yet."""

    host: EnvHost
    done: list[Delivery] = field(default_factory=list)
    free_slots: list[int] = field(default_factory=list)


class EnvPool:
    """Advances many environments at once; each answers as soon as it can.

    An environment that raises, answers nonsense or does not answer in time and a worker that dies become results with
    `error` set. None is ever raised, none is waited for in vain.

    Args:
        make_env: Builds one environment. With workers it must be picklable.
        workers: 0 runs every request at once in this process, the fastest way for environments that need less
            than about a millisecond; n spreads them over n processes.
        timeout_s: Seconds one request may take. In this process only what returns to Python can be interrupted, and
            only in the main thread; a worker is killed.
        max_characters: Longer texts of an environment are cut.
    """

    def __init__(
        self,
        make_env: Callable[[], AnyEnv],
        workers: int = 0,
        timeout_s: float = 60.0,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        if workers < 0:
            raise ConfigError(f"the pool's workers must be 0 (this process) or more, not {workers}.")
        if not timeout_s > 0:
            raise ConfigError(f"the pool's timeout must be more than 0 seconds, not {timeout_s}.")
        self._slots = 0
        self._held: set[EnvHandle] = set()
        self._pending: set[EnvHandle] = set()
        self._closed = False
        self._results: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._local = _Local(EnvHost(make_env, timeout_s, max_characters)) if workers == 0 else None
        self._workers: list[Worker] = []
        if workers:
            try:
                pickled = pickle.dumps(make_env)
            except Exception as error:
                raise ConfigError(
                    f"make_env cannot be sent to worker processes ({error}): "
                    "give a function or method defined at the top of a module, or use 0 workers."
                ) from error
            self._workers = [Worker(pickled, timeout_s, max_characters, self._results) for _ in range(workers)]
        self._finalizer = weakref.finalize(self, _close_workers, self._workers)

    @property
    def pending(self) -> int:
        """Requests whose results have not been returned by `poll`."""
        return len(self._pending & self._held)

    @property
    def worker_pids(self) -> tuple[int | None, ...]:
        """Process id of each worker, `None` while it is being replaced."""
        return tuple(worker.pid for worker in self._workers)

    def acquire(self) -> EnvHandle:
        """An environment for one episode, on the worker that has the fewest."""
        self._check_open()
        number, free = 0, self._local.free_slots if self._local else []
        if self._workers:
            number = min(range(len(self._workers)), key=lambda index: self._workers[index].held)
            self._workers[number].held += 1
            free = self._workers[number].free_slots
        if free:
            slot = free.pop()
        else:
            slot, self._slots = self._slots, self._slots + 1
        handle = EnvHandle(slot, number)
        self._held.add(handle)
        return handle

    def release(self, handle: EnvHandle) -> None:
        """Give an environment back; a result still to come is dropped."""
        if handle not in self._held:
            raise ValueError("the handle was released before, or belongs to another pool.")
        self._held.remove(handle)
        if handle not in self._pending:
            self._recycle(handle)

    def submit(self, handle: EnvHandle, command: Command) -> None:
        """Queue a request; one a handle at a time.

        It is `("reset", options, seed)` or `("step", action)`, or, where environments are `Restorable`, `("clone",)`,
        whose result has the `state`, or `("restore", state)`.
        """
        if handle not in self._held or handle in self._pending:
            self._check_open()
            state = "has a request under way" if handle in self._held else "was released, or is not held by this pool"
            raise ValueError(f"the environment handle {state}.")
        if command[0] not in _REQUESTS:
            raise ValueError(f"unknown environment command {command[0]!r}: use one of {', '.join(_REQUESTS)}.")
        self._pending.add(handle)
        if self._local is not None:
            self._local.done.append((handle, self._local.host.run(handle.slot, command)))
        else:
            self._workers[handle.worker].submit(handle, command)

    def poll(self, block: bool) -> list[Delivery]:
        """Results that are ready; with `block`, waits for one unless nothing is pending."""
        self._check_open()
        if self._local is not None:
            arrived, self._local.done = self._local.done, []
            return self._deliver(arrived)
        delivered = self._deliver(self._drain())
        while block and not delivered and not self._pending.isdisjoint(self._held):
            delivered = self._deliver([self._results.get(), *self._drain()])
        return delivered

    def close(self) -> None:
        """End the workers and close the environments; results not fetched are lost. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._finalizer()
        if self._local is not None:
            self._local.host.close()
            self._local.done.clear()
        self._held.clear()
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the environment pool is closed.")

    def _drain(self) -> list[Delivery]:
        arrived = []
        while True:
            try:
                arrived.append(self._results.get_nowait())
            except queue.Empty:
                return arrived

    def _deliver(self, arrived: list[Delivery]) -> list[Delivery]:
        """Settle accounts; keep what belongs to handles that are still held."""
        delivered = []
        for handle, result in arrived:
            self._pending.remove(handle)
            if handle in self._held:
                delivered.append((handle, result))
            else:
                self._recycle(handle)
        return delivered

    def _recycle(self, handle: EnvHandle) -> None:
        if self._local is not None:
            self._local.free_slots.append(handle.slot)
        else:
            worker = self._workers[handle.worker]
            worker.held -= 1
            worker.free_slots.append(handle.slot)
