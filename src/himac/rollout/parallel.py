"""Rollout in several processes on one machine: every process advances its own share of the programs.

A small model on a CPU spends its time between operations rather than in them, so a second process helps where a second
thread does not. The weights lie in shared memory: an update in this process is seen by all.
"""

from __future__ import annotations

import importlib
import signal
import threading
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from himac.envs.worker import end_with_parent
from himac.errors import TrainingError
from himac.inert import inert_warnings
from himac.rollout.collect import Collector, Usage
from himac.rollout.program import Commands, Program
from himac.types import Task


@dataclass(frozen=True, slots=True)
class _Share:
    """What a process runs: places in the caller's list, and calls that start the programs.

    Attributes:
        version: Of the weights, which have changed in shared memory.
    """

    version: int
    places: list[int]
    calls: list[tuple[str, str, tuple[Any, ...], Any]]


class ParallelCollector:
    """A `Collector` that leaves part of the programs to other processes.

    Which process runs what depends on the programs alone, so a run is reproducible with the same number of workers.
    Programs of one task stay together: they share prompts.

    Args:
        local: Runs the share of this process.
        workers: Processes, this one included.
        start: Starts a worker process; called `workers - 1` times, at once, so that imports run beside other work.
    """

    def __init__(self, local: Collector, workers: int, start: Callable[[], _Worker]) -> None:
        self._local = local
        self._workers = [start() for _ in range(workers - 1)]
        self._taking = threading.Lock()
        self._broken = False

    @property
    def usage(self) -> Usage:
        """Costs of all processes; seconds of this one, whose share is the same as the others'."""
        return self._local.usage

    def run(self, programs: Sequence[Commands], on_result: Callable[[Any], None] | None = None) -> list[Any]:
        """Results of the programs in their order.

        Calls of `on_result` come one at a time, though not all from this thread.

        Raises:
            TrainingError: A worker failed or is gone, now or in a former call: its other results could come in late.
        """
        import torch

        if self._broken:
            raise TrainingError("the rollout failed before and its workers are of no use; continue with --resume")
        shares = _split(programs, len(self._workers) + 1)
        results: list[Any] = [None] * len(programs)

        def told(result: Any) -> None:
            if on_result is not None:
                with self._taking:
                    on_result(result)

        def take(place: int, result: Any) -> None:
            results[place] = result
            told(result)

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            busy = [
                worker.submit(_Share(self._local.engine.version, places, [_call(programs[n]) for n in places]), take)
                for worker, places in zip(self._workers, shares[1:], strict=True)
                if places
            ]
            own = self._local.run([programs[place] for place in shares[0]], told)
            for place, result in zip(shares[0], own, strict=True):
                results[place] = result
            for finish in busy:
                spent = finish()
                self.usage.env_steps += spent.env_steps
                self.usage.generated_tokens += spent.generated_tokens
        except BaseException:
            self._broken = True
            raise
        finally:
            torch.set_num_threads(threads)
        return results

    def close(self) -> None:
        """Stop the processes."""
        for worker in self._workers:
            worker.close()


def start_worker(build: Callable[[], Any]) -> _Worker:
    """A process with its own engine and environments.

    Args:
        build: Makes its `Runtime`, there; the weights are in shared memory.
    """
    import torch.multiprocessing as mp

    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, build), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


class _Worker:
    """This process's end of a worker."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self._process, self._connection = process, connection

    def submit(self, share: _Share, take: Callable[[int, Any], None]) -> Callable[[], Usage]:
        """Hand a share over; the returned function waits for its end and gives its costs."""
        outcome: list[Any] = []

        def listen() -> None:
            try:
                while True:
                    kind, *rest = self._connection.recv()
                    if kind != "result":
                        outcome.extend((kind, *rest))
                        return
                    take(*rest)
            except (EOFError, OSError):
                outcome.extend(("gone", None))
            except Exception:
                outcome.extend(("failed", traceback.format_exc()))

        try:
            self._connection.send(share)
        except OSError:
            outcome.extend(("gone", None))
        listener = threading.Thread(target=listen, daemon=True)
        if not outcome:
            listener.start()

        def finish() -> Usage:
            if listener.ident is not None:
                listener.join()
            kind, value = outcome
            if kind == "gone":
                self._process.join(5)
                raise TrainingError(
                    f"a rollout worker is gone (exit code {self._process.exitcode}; out of memory?); "
                    "continue with --resume, or set train.rollout_workers=1"
                )
            if kind == "failed":
                raise TrainingError(f"a rollout worker failed; continue with --resume:\n{value}")
            assert isinstance(value, Usage)
            return value

        return finish

    def close(self) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()


def _work(connection: Connection, build: Callable[[], Any]) -> None:
    """Body of a worker: run shares until the other end closes."""
    import torch

    inert_warnings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end decides when this one stops
    end_with_parent()
    torch.set_num_threads(1)
    with build() as runtime:
        while True:
            try:
                share: _Share = connection.recv()
            except (EOFError, OSError):
                return
            runtime.engine.load_weights((), share.version)
            before = (runtime.collector.usage.env_steps, runtime.collector.usage.generated_tokens)
            try:
                programs = [
                    getattr(importlib.import_module(module), name)(runtime.spec, runtime.agent, *args, **kwargs)
                    for module, name, args, kwargs in share.calls
                ]
                results = runtime.collector.run(programs)
                for place, result in zip(share.places, results, strict=True):
                    connection.send(("result", place, result))
                used = runtime.collector.usage
                spent = Usage(env_steps=used.env_steps - before[0], generated_tokens=used.generated_tokens - before[1])
                connection.send(("done", spent))
            except OSError:
                return
            except Exception:
                connection.send(("failed", traceback.format_exc()))


def _call(program: Commands) -> tuple[str, str, tuple[Any, ...], Any]:
    if not isinstance(program, Program):
        raise TypeError("only programs made by @program functions can run in another process")
    return program.call


def _split(programs: Sequence[Commands], parts: int) -> list[list[int]]:
    """Places of each part: programs of one task together, tasks to the part with the fewest programs so far."""
    tasks = dict[Hashable, list[int]]()
    for place, program in enumerate(programs):
        args = program.args if isinstance(program, Program) else ()
        task = next((arg.id for arg in args if isinstance(arg, Task)), place)
        tasks.setdefault(task, []).append(place)
    shares: list[list[int]] = [[] for _ in range(parts)]
    for places in tasks.values():
        min(shares, key=len).extend(places)
    return shares
