"""The command line in processes of its own that can be killed, interrupted and limited.

They are forked from one server that has torch loaded already, so that each starts at once.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
if sys.platform != "darwin":  # system libraries of macOS do not survive a fork
    _CONTEXT.set_forkserver_preload(
        [
            "himac.cli.train",
            "himac.cli.evaluate",
            "himac.training.trainer",
            "himac.models.loading",
            "himac.engines.local.engine",
        ]
    )


def _main(args: Sequence[str], folder: str, output: str, env: Mapping[str, str | None], file_bytes: int | None) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    for key, value in env.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    sys.argv = ["himac", *args]
    from himac.cli import main

    main()


@dataclass(frozen=True)
class Done:
    """How a command ended; `code` is negative after a signal."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@dataclass
class Running:
    """A command under way."""

    process: BaseProcess
    output: Path

    def when(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> Running:
        """Wait until the condition holds; fails when the command ends before."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = not self.process.is_alive() and not condition()
            assert not ended, f"the command ended too early: {self.wait()}"
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.002)
        return self

    def send(self, number: int) -> Done:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return self.wait()

    def wait(self, timeout_s: float = 120.0) -> Done:
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"no end within {timeout_s} s; stderr: {self._read('err')}")
        assert self.process.exitcode is not None
        return Done(self.process.exitcode, self._read("out"), self._read("err"))

    def _read(self, name: str) -> str:
        path = Path(f"{self.output}.{name}")
        return path.read_text(encoding="utf-8") if path.exists() else ""


@dataclass
class Cli:
    """Runs `himac` in a folder.

    Attributes:
        folder: Working directory; outputs are kept beside it.
        env: Variables to set, or to unset (`None`).
    """

    folder: Path
    env: dict[str, str | None] = field(default_factory=dict)
    _count: int = 0

    def start(self, *args: str | Path, file_bytes: int | None = None) -> Running:
        self._count += 1
        output = self.folder.with_name(f"{self.folder.name}-command-{self._count}")
        arguments = ([str(arg) for arg in args], str(self.folder), str(output), self.env, file_bytes)
        process = _CONTEXT.Process(target=_main, args=arguments)
        process.start()
        return Running(process, output)

    def run(self, *args: str | Path, file_bytes: int | None = None) -> Done:
        return self.start(*args, file_bytes=file_bytes).wait()


def lines(path: Path) -> int:
    """Whole lines of a file that may not exist yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
