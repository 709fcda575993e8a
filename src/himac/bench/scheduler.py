"""Runs commands in processes of their own, several at a time, and stops them cleanly."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.1
GRACE_S = 15.0
"""Seconds an interrupted process may take to end by itself."""


@dataclass(frozen=True, slots=True)
class Job:
    """Commands that run one after another; the job fails with the first that does.

    Attributes:
        log: Where their output is appended.
        needs: Name of the job that must succeed before.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    log: Path
    needs: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        code: Exit status of the last command, negative after a signal; `None` when it could not start.
        error: Last line of its output when it failed.
    """

    job: Job
    code: int | None
    seconds: float
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0


@dataclass(slots=True)
class _Running:
    job: Job
    env: Mapping[str, str]
    inherit: tuple[int, ...]
    started: float = field(default_factory=time.monotonic)
    step: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    def launch(self) -> Outcome | None:
        """Start the next command; the outcome of the job when that is not possible."""
        try:
            self._launch()
        except OSError as error:
            command = self.job.commands[self.step][0]
            return Outcome(self.job, None, time.monotonic() - self.started, f"cannot start {command}: {error}")
        return None

    def _launch(self) -> None:
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with self.job.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the scheduler only, which then ends its processes in order.
            self.process = subprocess.Popen(
                self.job.commands[self.step],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.env),
                pass_fds=self.inherit,
                start_new_session=True,
            )

    def poll(self) -> Outcome | None:
        code = self.process.poll()
        if code is None:
            return None
        if code == 0 and self.step + 1 < len(self.job.commands):
            self.step += 1
            return self.launch()
        return Outcome(self.job, code, time.monotonic() - self.started, _failure(code, self.job.log) if code else "")

    def signal(self, number: int) -> None:
        # Gone already; macOS says EPERM of a group that has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def run_jobs(
    jobs: Sequence[Job],
    slots: int,
    *,
    env: Mapping[str, str],
    inherit: tuple[int, ...] = (),
    on_end: Callable[[Outcome], None] = lambda outcome: None,
    on_tick: Callable[[Sequence[str]], None] = lambda names: None,
) -> list[Outcome]:
    """Run every job, in order as slots become free; failures do not stop the others.

    Whatever ends this call early (Ctrl-C, an error of a callback) first ends the running processes.

    Args:
        slots: Jobs at a time.
        inherit: File descriptors the processes keep open.
        on_tick: Called after each look at the processes, with the names of the running jobs.

    Returns:
        Outcomes in the order of their ends.
    """
    waiting, running, ended = list(jobs), list[_Running](), dict[str, Outcome]()

    def end(outcome: Outcome) -> None:
        ended[outcome.job.name] = outcome
        on_end(outcome)

    try:
        while waiting or running:
            for job in tuple(waiting):
                before = ended.get(job.needs) if job.needs else None
                if before is not None and not before.ok:
                    waiting.remove(job)
                    end(Outcome(job, None, 0.0, f"{before.job.name} failed: {before.error}"))
                elif len(running) < slots and (job.needs is None or before is not None):
                    waiting.remove(job)
                    one = _Running(job, env, inherit)
                    unstarted = one.launch()
                    if unstarted is None:
                        running.append(one)
                    else:
                        end(unstarted)
            for one in tuple(running):
                outcome = one.poll()
                if outcome is not None:
                    running.remove(one)
                    end(outcome)
            on_tick([one.job.name for one in running])
            if running:
                time.sleep(POLL_S)
    finally:
        _stop(running)
    return list(ended.values())


def _stop(running: Sequence[_Running]) -> None:
    """Interrupt, wait, and kill what is left; a second Ctrl-C kills at once."""
    try:
        for one in running:
            one.signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE_S
        while any(one.process.poll() is None for one in running) and time.monotonic() < deadline:
            time.sleep(POLL_S / 2)
    finally:
        for one in running:
            if one.process.poll() is None:
                one.signal(signal.SIGKILL)
                one.process.wait()


def _failure(code: int, log: Path) -> str:
    """The last line of the output; for a signal also its name."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; last output: {last}"
    return last.removeprefix("error: ")
