"""Runs attacks, each in a process of its own, so that one which hangs or eats memory cannot take the others along."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from attack.base import Attack

MEMORY_BYTES = 8 << 30
"""Address space an attack may use: more means that some data was unpacked without a bound."""


@dataclass
class Outcome:
    """What came of an attack: tries made, and a sentence for each failure."""

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(attack: Attack, tries: int, tell: Callable[[Outcome], None] | None = None) -> Outcome:
    """Make the tries one after another; a process that hangs or dies counts as a failure and is replaced."""
    outcome, started = Outcome(attack.name), time.monotonic()
    while outcome.tried < tries:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, attack, outcome.tried, tries))
        process.start()
        there.close()
        _listen(here, process.pid or 0, attack, outcome, tell)
        process.join()
        here.close()
    outcome.seconds = time.monotonic() - started
    return outcome


def _listen(
    here: Connection, pid: int, attack: Attack, outcome: Outcome, tell: Callable[[Outcome], None] | None
) -> None:
    """Take results until the process ends; kill it when one is late."""
    try:
        here.recv()  # it has started: imports do not count
        while True:
            if not here.poll(attack.limit_s):
                outcome.failures.append(f"try {outcome.tried}: no end within {attack.limit_s:g} s")
                outcome.tried += 1
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                return
            said = here.recv()
            if said == "end":
                return
            outcome.failures.extend([f"try {outcome.tried}: {said}"] if said else [])
            outcome.tried += 1
            if tell is not None:
                tell(outcome)
    except EOFError:
        outcome.failures.append(f"try {outcome.tried}: the process died")
        outcome.tried += 1


def _work(there: Connection, attack: Attack, first: int, tries: int) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    root = Path(tempfile.mkdtemp(prefix="himac-attack-"))
    there.send("start")
    try:
        for number in range(first, tries):
            folder = root / str(number)
            folder.mkdir()
            try:
                said = attack.attempt(number, folder)
            except (Exception, SystemExit):
                said = traceback.format_exc()
            there.send(said)
            shutil.rmtree(folder, ignore_errors=True)
        there.send("end")
    finally:
        shutil.rmtree(root, ignore_errors=True)
