"""`transformers serve` in a process of its own, and model directories as docs/prompting.md prepares them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

MISSING = [name for name in ("fastapi", "uvicorn", "openai") if find_spec(name) is None]
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "prompting.md"
_START_S, _STOP_S = 120.0, 20.0


def prepared(model: Path, copy: Path) -> Path:
    """A copy of a model directory that the program in docs/prompting.md has worked on."""
    shutil.copytree(model, copy)
    program = _PAGE.read_text(encoding="utf-8").split("<<'END'\n")[1].split("    END\n")[0]
    with patch.object(sys, "argv", ["-", str(copy)]):
        exec(textwrap.dedent(program), {})
    return copy


@contextmanager
def transformers_serve(log: Path) -> Iterator[str]:
    """The address of a server that loads the models its requests name, on a port of its own.

    Args:
        log: File for what the server prints; shown when it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--device", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(health, timeout=5.0):
                return
        except (urllib.error.URLError, OSError):
            said = log.read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None, f"the server did not start: {said}"
            assert time.monotonic() < deadline, f"the server did not answer within {_START_S} s: {said}"
            time.sleep(0.05)
