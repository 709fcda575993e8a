"""Requests to a chat endpoint, many at once on a thread of their own, while the episodes go on."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from himac.config import Config
from himac.engines.base import Completion, Engine, GenerateRequest
from himac.engines.openai.retry import is_passing, pause, retry_after
from himac.engines.openai.settings import OpenAIConfig
from himac.engines.openai.tokenizer import ChatTokenizer
from himac.engines.openai.wire import BrokenAnswerError, body, complaint, completion, read, repeats_prompt
from himac.engines.pending import Pending
from himac.errors import ConfigError, EndpointError, MissingDependencyError
from himac.models.policy import Policy

logger = logging.getLogger(__name__)

_CLOSE_S = 10.0
_REFUSED = {401: "refuses the key", 402: "asks for payment", 403: "forbids the request", 404: "knows no such model"}
_NO_CREDIT = "insufficient_quota"
_TOO_LONG = ("context_length_exceeded", "context length", "maximum context", "prompt is too long")
_MESSAGE = 300
_SECRET = 8
"""Characters. Shorter keys are place-holders for servers that need none, and common words."""


@dataclass(slots=True)
class Totals:
    """What the endpoint was asked and what went wrong on the way."""

    requests: int = 0
    retries: int = 0
    failures: int = 0


class _GaveUpError(Exception):
    """This request will not be answered; others may be."""


class _TooLongError(Exception):
    """The prompt does not fit into the model."""


class OpenAIEngine(Engine):
    """Generates at an OpenAI-compatible chat endpoint.

    A fault that may pass (429, 5xx, no answer in time, a broken body) is tried again; after `max_tries` the completion
    carries `error`. What no later request can survive (a wrong key, an unknown model) is raised by `step`.

    Raises:
        ConfigError: no model is named, or there is no key in the environment for OpenAI's own endpoint.
        MissingDependencyError: the package `openai` is not installed.
    """

    def __init__(self, config: OpenAIConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = ChatTokenizer()
        self.max_context = config.max_context
        self.totals = Totals()
        self._key = os.environ.get(config.key_variable, "").strip()
        self._base_url = config.base_url or os.environ.get("OPENAI_BASE_URL") or None
        if not config.model:
            raise ConfigError("engine.name=openai needs engine.model, the name of the model at the endpoint")
        if not self._key and self._base_url is None:
            raise ConfigError(
                f"no key for the endpoint; set the environment variable {config.key_variable}, "
                "or engine.base_url for a server that needs none"
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(f"the key in {config.key_variable} has characters no key has; set the variable again")
        try:
            import openai
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "engine.name=openai needs the package openai; install it with: pip install 'himac[api]'"
            ) from error
        if self._hidden(dumped := config.model_dump_json()) != dumped:
            raise ConfigError(
                f"the key itself stands in the settings of engine; leave it in the variable {config.key_variable} only"
            )
        self._errors = openai
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=self._base_url, timeout=config.timeout_s, max_retries=0
        )
        self._rng = random.Random()
        self._slots = asyncio.Semaphore(config.concurrency)
        self._not_before = 0.0
        self._answered = False
        self._serial = 0
        self._pending = Pending()
        self._refusal: EndpointError | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="himac-openai", daemon=True)
        self._thread.start()

    @classmethod
    def build(cls, config: Config, policy: Policy | None, max_live: int) -> OpenAIEngine:
        """On the endpoint that the settings name."""
        assert isinstance(config.engine, OpenAIConfig)
        return cls(config.engine)

    def submit(self, request: GenerateRequest) -> int:
        """Send a request as soon as one of the `concurrency` places is free."""
        self._serial += 1
        serial = self._serial
        if request.params.max_new_tokens < 1 or len(request.prompt_ids) >= self.max_context:
            self.kept.append((serial, _empty(request)))
            return serial
        fields = body(request, self.config, self.tokenizer)
        future = asyncio.run_coroutine_threadsafe(self._answer(request, fields), self._loop)
        self._pending.add(serial, request, future)
        return serial

    def step(self) -> list[tuple[int, Completion]]:
        """Wait a moment for answers and return those that have come.

        Raises:
            EndpointError: the endpoint will answer no request of this run. What it has answered is returned before.
        """
        answers, self.kept = self.kept, []
        for serial, future in self._pending.finished(wait=not answers and self._refusal is None):
            try:
                answers.append((serial, future.result()))
            except EndpointError as error:
                self._refusal = error
        if self._refusal is not None and not answers:
            refusal, self._refusal = self._refusal, None
            raise refusal
        return answers

    def release(self, session: Hashable) -> None:
        """Drop what the session still waits for; an endpoint keeps nothing between requests."""
        self._pending.release(session)

    def close(self) -> None:
        """Cancel what is under way and end the thread; further calls do nothing."""
        if self._loop.is_closed():
            return
        self._pending.cancel()
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_S)
        except TimeoutError:
            logger.warning("the connections to the endpoint did not close within %g s", _CLOSE_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSE_S)
            if not self._thread.is_alive():  # else it ends with the program
                self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _answer(self, request: GenerateRequest, fields: dict[str, Any]) -> Completion:
        """Try until there is an answer, at most `max_tries` times."""
        tries = 0
        while True:
            try:
                async with self._slots:
                    await self._gate()
                    self.totals.requests += 1
                    content = await self._once(fields)
                    reply = read(content, self._hidden)
                if repeats_prompt(fields, reply):
                    raise EndpointError(
                        f"the endpoint {self._place} puts the prompt into its replies, because it does not know how a "
                        "reply of this model begins; with transformers serve, give the model's tokenizer a "
                        "response_template (docs/prompting.md)"
                    )
                self._answered = True
                return completion(request, reply)
            except _TooLongError:
                return _empty(request)
            except _GaveUpError as error:
                return self._given_up(request, str(error))
            except EndpointError:
                raise
            except Exception as error:
                tries += 1
                cause, asked = self._passing(error)
                if tries >= self.config.max_tries:
                    return self._given_up(request, f"no answer after {tries} tries; the last fault: {cause}")
                if asked is not None and asked > self.config.max_wait_s:
                    return self._given_up(
                        request, f"the endpoint asks to wait {asked:.0f} s, longer than engine.max_wait_s; {cause}"
                    )
                self.totals.retries += 1
                seconds = pause(tries, asked, self.config.max_wait_s, self._rng)
                logger.info("try %d failed (%s); the next one follows in %.1f s", tries, cause, seconds)
                if asked is not None:  # a limit of the account concerns every request
                    self._not_before = max(self._not_before, time.monotonic() + asked)
                await asyncio.sleep(seconds)

    async def _gate(self) -> None:
        while (seconds := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(seconds)

    async def _once(self, fields: dict[str, Any]) -> bytes:
        """One try: the body of the answer.

        Raises:
            EndpointError, _GaveUpError, _TooLongError: trying again is of no use.
        """
        errors = self._errors
        try:
            # The client's own timeout is one of silence; a body that drips in is cut off here.
            async with asyncio.timeout(self.config.timeout_s):
                answer = await self._client.chat.completions.with_raw_response.create(**fields)
        except errors.APIStatusError as error:
            self._judge(error)
            raise
        content: bytes = answer.content
        return content

    def _judge(self, error: Any) -> None:
        """Raise something final for a status that stays; return for one that may pass."""
        status, said = int(error.status_code), self._said(error)
        if status in (401, 402, 403) or error.code == _NO_CREDIT or (status == 404 and not self._answered):
            reason = "has no credit left for this key" if error.code == _NO_CREDIT else _REFUSED[status]
            # What is said of a wrong key repeats a part of it.
            detail = "" if status == 401 else f": {said}"
            raise EndpointError(
                f"the endpoint {self._place} {reason} (HTTP {status}{detail}); check engine.model, engine.base_url and "
                f"the key in {self.config.key_variable}, then continue with --resume"
            ) from None
        if is_passing(status):
            return
        if any(mark in f"{error.code} {said}".lower() for mark in _TOO_LONG):
            raise _TooLongError
        if not self._answered:  # a field it does not take, and so with every other request
            raise EndpointError(
                f"the endpoint {self._place} refuses the request (HTTP {status}: {said}); "
                "leave fields out with engine.omit, or check engine.model and engine.length_field"
            ) from None
        raise _GaveUpError(f"HTTP {status}: {said}") from None

    def _passing(self, error: Exception) -> tuple[str, float | None]:
        """A fault in words, and the wait the endpoint asks for."""
        errors = self._errors
        if isinstance(error, errors.APIStatusError):
            return f"HTTP {error.status_code}: {self._said(error)}", retry_after(error.response.headers)
        if isinstance(error, TimeoutError | errors.APITimeoutError):
            return f"no answer within {self.config.timeout_s:g} s", None
        if isinstance(error, BrokenAnswerError):
            return str(error), None
        if isinstance(error, errors.APIConnectionError):
            return f"the connection to {self._place} failed ({self._hidden(str(error.__cause__ or error))})", None
        raise error

    def _given_up(self, request: GenerateRequest, cause: str) -> Completion:
        self.totals.failures += 1
        logger.error("a request was given up; its episode ends as engine_error: %s", cause)
        return _empty(request, cause)

    def _said(self, error: Any) -> str:
        """The endpoint's own message in one short line."""
        return self._hidden(" ".join((complaint(error.body) or str(error.message)).split()))[:_MESSAGE]

    def _hidden(self, text: str) -> str:
        """The text without the key, which an endpoint may repeat; what is said is kept in files."""
        return text.replace(self._key, "***") if len(self._key) >= _SECRET else text

    @property
    def _place(self) -> str:
        """The address without what may be secret: user, password and query."""
        url = self._client.base_url
        return f"{url.scheme}://{url.netloc.decode()}{url.path}"


def _empty(request: GenerateRequest, error: str | None = None) -> Completion:
    return Completion(request.id, (), (), (), "", finished=False, error=error)
