"""Runs many episode programs at once over one engine and one environment pool.

A finished program leaves and the next in the queue enters. What a step of the engine computes together decides its
last bits, so that must not depend on which environment answered first: an answer is taken a fixed number of engine
steps after its question, in the order of the questions (docs/adr/0007).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from himac.engines.base import Engine, GenerateRequest
from himac.envs.pool import EnvHandle, EnvPool, EnvResult
from himac.rollout.failures import FailureLog
from himac.rollout.program import Clone, Commands, Generate, GenerateMany, Release, Reset, Restore, Step


@dataclass(slots=True)
class Usage:
    """What a rollout cost; seconds are of this process."""

    engine_s: float = 0.0
    env_s: float = 0.0
    total_s: float = 0.0
    env_steps: int = 0
    generated_tokens: int = 0

    def __iadd__(self, other: Usage) -> Usage:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


class Runner(Protocol):
    """Runs programs: `Collector` here, `parallel.ParallelCollector` in several processes."""

    @property
    def usage(self) -> Usage:
        """Costs so far."""
        ...

    def run(self, programs: Sequence[Commands], on_result: Callable[[Any], None] | None = None) -> list[Any]:
        """Results of the programs in their order."""
        ...


@dataclass(slots=True)
class _Live:
    """A running program: where its answers go.

    Attributes:
        due: Engine steps of the run after which its environment's answer is taken.
    """

    index: int
    program: Any
    env: Any = None
    due: int = 0
    waiting: int = 0
    answers: list[Any] = field(default_factory=list)
    many: bool = False


class Collector:
    """The scheduler.

    Args:
        max_live: Programs under way at the same time.
        overlap: Engine steps that environments may work beside; 0 waits for them after every step. `None` takes
            answers as they come, for engines that are not reproducible anyway.
    """

    def __init__(self, engine: Engine, pool: EnvPool, max_live: int = 64, overlap: int | None = 0) -> None:
        self.engine = engine
        self.pool = pool
        self.max_live = max_live
        self.overlap = overlap
        self.usage = Usage()
        self._failures = FailureLog()

    def run(self, programs: Sequence[Commands], on_result: Callable[[Any], None] | None = None) -> list[Any]:
        """Results of the programs in their order.

        The engine starts without caches, so a run depends on its programs and the weights only.

        Args:
            programs: What to run.
            on_result: Called with each program's result as it ends, for progress bars.
        """
        started = time.perf_counter()
        self.engine.forget()
        results: list[Any] = [None] * len(programs)
        queue = deque(enumerate(programs))
        requests: dict[Any, tuple[_Live, int]] = {}
        envs: dict[EnvHandle, _Live] = {}
        arrived: dict[EnvHandle, EnvResult] = {}
        live = steps = 0

        def advance(slot: _Live, value: Any) -> bool:
            """Send an answer in and act on the commands that come out; true when the program ended."""
            while True:
                try:
                    command = slot.program.send(value)
                except StopIteration as stop:
                    results[slot.index] = stop.value
                    if slot.env is not None:
                        self.pool.release(slot.env)
                    if on_result is not None:
                        on_result(stop.value)
                    return True
                match command:
                    case Release(session):
                        self.engine.release(session)
                        value = None
                    case Generate() | GenerateMany():
                        many = isinstance(command, GenerateMany)
                        self._submit(
                            slot, command.requests if isinstance(command, GenerateMany) else (command,), many, requests
                        )
                        return False
                    case Reset() | Step() | Clone() | Restore():
                        slot.due = steps + (self.overlap or 0)
                        self._act(slot, command, envs)
                        return False

        while queue or live:
            while queue and live < self.max_live:
                index, program = queue.popleft()
                live += not advance(_Live(index, iter(program)), None)
            if requests:
                clock = time.perf_counter()
                completions = self.engine.step()
                steps += 1
                self.usage.engine_s += time.perf_counter() - clock
                for _, completion in completions:
                    slot, position = requests.pop(completion.id)
                    self.usage.generated_tokens += len(completion.token_ids)
                    slot.answers[position] = completion
                    slot.waiting -= 1
                    if slot.waiting == 0:
                        live -= advance(slot, slot.answers if slot.many else slot.answers[0])
            while envs:
                clock = time.perf_counter()
                due = self._await(envs, arrived, steps, idle=not requests)
                self.usage.env_s += time.perf_counter() - clock
                for handle in due:
                    live -= advance(envs.pop(handle), self._failures.heard(arrived.pop(handle)))
                if not due or requests:
                    break
        self._failures.count()
        self.usage.total_s += time.perf_counter() - started
        return results

    def _await(
        self, envs: dict[EnvHandle, _Live], arrived: dict[EnvHandle, EnvResult], steps: int, *, idle: bool
    ) -> list[EnvHandle]:
        """Handles whose answers are to be taken now, in the order of the questions; they are in `arrived` then.

        Args:
            envs: Questions asked, in their order.
            arrived: Answers that have come.
            steps: Engine steps done.
            idle: The engine has nothing to do, so that the next answers are waited for.
        """
        if self.overlap is None:
            arrived.update(self.pool.poll(block=idle))
            return [handle for handle in envs if handle in arrived]
        last = max(steps, next(iter(envs.values())).due) if idle else steps
        due = [handle for handle, slot in envs.items() if slot.due <= last]
        while not all(handle in arrived for handle in due):
            arrived.update(self.pool.poll(block=True))
        return due

    def _submit(
        self, slot: _Live, requests: Sequence[Generate], many: bool, pending: dict[Any, tuple[_Live, int]]
    ) -> None:
        slot.waiting, slot.answers, slot.many = len(requests), [None] * len(requests), many
        for position, request in enumerate(requests):
            key = (slot.index, position)
            pending[key] = (slot, position)
            self.engine.submit(
                GenerateRequest(key, request.session, request.prompt_ids, request.params, request.pictures)
            )

    def _act(self, slot: _Live, command: Reset | Step | Clone | Restore, envs: dict[EnvHandle, _Live]) -> None:
        clock = time.perf_counter()
        if slot.env is None:
            slot.env = self.pool.acquire()
        envs[slot.env] = slot
        match command:
            case Reset(options, seed):
                self.pool.submit(slot.env, ("reset", options, seed))
            case Step(action):
                self.usage.env_steps += 1
                self.pool.submit(slot.env, ("step", action))
            case Clone():
                self.pool.submit(slot.env, ("clone",))
            case Restore(state):
                self.pool.submit(slot.env, ("restore", state))
        self.usage.env_s += time.perf_counter() - clock
