"""A chat endpoint in a thread that answers by a function, or misbehaves the way endpoints do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Raw:
    """An answer byte for byte.

    Attributes:
        promised: Value of `Content-Length`, the true one by default.
        delay_s: Seconds before anything is sent.
        drip_s: Seconds between the bytes.
    """

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None
    delay_s: float = 0.0
    drip_s: float = 0.0


def chat(
    text: str | None, finish: str | None = "stop", usage: tuple[int, int] | None = (10, 3), logprobs: Any = None
) -> Raw:
    """A well-formed answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body: Body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Raw(content=json.dumps(body).encode())


def refusal(status: int, message: str = "no", code: str | None = None, **headers: str) -> Raw:
    """An error in the form of the protocol; underscores in header names become dashes."""
    content = json.dumps({"error": {"message": message, "code": code, "type": "error"}}).encode()
    return Raw(status, content, {name.replace("_", "-"): value for name, value in headers.items()})


Answer = Callable[[Body, int], Raw | str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of five at once the rest would be turned away or wait a second


class ChatServer:
    """Serves `POST /v1/chat/completions`.

    Attributes:
        answer: Makes the answer of (body, number of the request from 0); a text is a well-formed answer.
        bodies, headers, times: Of every request so far.
        peak: Most requests under way at once.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.peak = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body | {"path": handler.path})
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.times.append(time.monotonic())
            self._busy += 1
            self.peak = max(self.peak, self._busy)
        try:
            answer = self.answer(body, number)
            self._send(handler, chat(answer) if isinstance(answer, str) else answer)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._busy -= 1

    def _send(self, handler: BaseHTTPRequestHandler, answer: Raw) -> None:
        self._closing.wait(answer.delay_s)
        handler.send_response(answer.status)
        promised = len(answer.content) if answer.promised is None else answer.promised
        for name, value in {"Content-Type": "application/json", "Content-Length": str(promised)}.items():
            handler.send_header(name, value)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if answer.drip_s:
            for byte in answer.content:
                handler.wfile.write(bytes([byte]))
                if self._closing.wait(answer.drip_s):
                    break
        else:
            handler.wfile.write(answer.content)
        handler.close_connection = promised != len(answer.content)


def said(body: Body) -> str:
    """All messages of a request in one text."""
    return "\n".join(message["content"] for message in body["messages"])
