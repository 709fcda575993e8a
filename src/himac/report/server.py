"""The page of a run on the loopback address, made anew when the run has gone on; a folder of runs has an index."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from himac.errors import ConfigError, DataError
from himac.inert import inert
from himac.report.results import number
from himac.report.runs import OWN, RESULTS, Run, find_runs, read_runs
from himac.report.web import content_hash, page_of
from himac.store.lock import holder

ADDRESS = "127.0.0.1"
_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}"
    "table{border-collapse:collapse}th,td{text-align:left;padding:.3rem 1.2rem .3rem 0;"
    "border-bottom:1px solid GrayText;unicode-bidi:isolate;overflow-wrap:anywhere}"
)
_REFRESH_S = 10
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    content: str
    kind: str = "text/html"
    status: HTTPStatus = HTTPStatus.OK


@dataclass(slots=True)
class Site:
    """A run, or the runs in a folder; nothing else is ever read, whatever is asked for.

    Attributes:
        pages: Version and text of the page of each run that was shown.
    """

    root: Path
    pages: dict[Path, tuple[str, str]] = field(default_factory=dict)
    lock: Any = field(default_factory=Lock)

    def answer(self, path: str) -> Answer:
        """The index or the page of a run, and `state` beside it: the version of its files."""
        try:
            runs = self._runs()
            folder, _, last = unquote(path).removeprefix("/").rpartition("/")
            run = runs.get(folder.removeprefix("run/") if folder else "")
            if run is None and not folder and last == "":
                return Answer(_index(self.root, runs))
            if run is None or last not in ("", "state"):
                return Answer("There is nothing here.\n", "text/plain", HTTPStatus.NOT_FOUND)
            if last == "state":
                return Answer(json.dumps({"version": version(run)}), "application/json")
            return Answer(self._page(run))
        except (DataError, OSError) as error:
            return Answer(f"{inert(str(error))}\n", "text/plain", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _runs(self) -> dict[str, Path]:
        """By the name in the address; the root itself has none."""
        try:
            found = find_runs([self.root])
        except DataError:
            return {}  # nothing has begun
        return {"" if run == self.root else run.relative_to(self.root).as_posix(): run for run in found}

    def _page(self, run: Path) -> str:
        now = version(run)
        with self.lock:
            if self.pages.get(run, ("", ""))[0] != now:
                self.pages[run] = now, page_of([run], run.resolve().name, version=now)
            return self.pages[run][1]


def version(run: Path) -> str:
    """Changes when a file of the run does that the page is made of."""
    told = hashlib.blake2b(digest_size=8)
    for path in sorted(_files(run)):
        status = path.stat()
        told.update(f"{path.relative_to(run)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="replace"))
    return told.hexdigest()


def _files(run: Path) -> Iterator[Path]:
    yield from (path for name in OWN if name != RESULTS and (path := run / name).is_file())
    yield from (path for path in run.rglob(RESULTS) if path.is_file())


def _index(root: Path, runs: dict[str, Path]) -> str:
    rows = [(f"run/{quote(name)}/", name, *_state(path)) for name, path in runs.items()]
    body = "".join(
        f'<tr><td><a href="{html.escape(link)}">{html.escape(inert(name))}</a></td>'
        + "".join(f"<td>{html.escape(inert(cell))}</td>" for cell in cells)
        + "</tr>"
        for link, name, *cells in rows
    )
    head = "".join(f"<th>{name}</th>" for name in ("run", "state", "iteration", "environment steps", "success"))
    told = f"<table><tr>{head}</tr>{body}</table>" if rows else "<p>There is no run here yet.</p>"
    title = html.escape(inert(root.resolve().name))
    policy = f"default-src 'none'; style-src {content_hash(_STYLE)}; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{_REFRESH_S}">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title} · himac</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{told}</body></html>"
    )


def _state(folder: Path) -> tuple[str, str, str, str]:
    """State, iteration, environment steps and last success of a run."""
    try:
        (run,) = read_runs([folder])
    except DataError as error:
        return str(error), "", "", ""
    if not run.metrics:
        return "evaluation", "", "", ""
    last = run.metrics[-1]
    successes = [line for line in run.metrics if line.get("kind") == "eval" and number(line, "success") is not None]
    wanted, done = run.config.get("train.iterations", "?"), _iterations(run)
    return (
        "running" if holder(folder) else "ended" if _ended(run) else "stopped",
        f"{done} of {wanted}",
        f"{int(number(last, 'env_steps') or 0):,}",
        f"{100 * (number(successes[-1], 'success') or 0):.1f} %" if successes else "",
    )


def _iterations(run: Run) -> int:
    last = run.metrics[-1]
    return int(number(last, "iteration") or 0) + (last.get("kind") != "eval")


def _ended(run: Run) -> bool:
    """Whether the last line is the evaluation at the end of the budget; a run without evaluations just ends."""
    spent = number(run.metrics[-1], "env_steps") or 0
    budgets = ((run.config.get("train.iterations"), _iterations(run)), (run.config.get("train.env_steps"), spent))
    return any(wanted is not None and wanted.isdecimal() and done >= int(wanted) for wanted, done in budgets)


def make_server(root: Path, port: int) -> ThreadingHTTPServer:
    """A server on the loopback address, not yet started; port 0 takes a free one.

    Raises:
        DataError: there is no such folder.
        ConfigError: the port is taken.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give a run directory or a folder of runs.")
    site = Site(root)

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "himac", ""

        def do_GET(self) -> None:
            self._send(site.answer(urlsplit(self.path).path) if self._is_for_us() else _FOREIGN)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

        def _is_for_us(self) -> bool:
            """A page elsewhere could have its own name point here; then it is named in Host."""
            return self.headers.get("Host", "").lower() in {f"{name}:{self.server.server_port}" for name in _NAMES}  # type: ignore[attr-defined]

        def _send(self, answer: Answer) -> None:
            content = answer.content.encode()
            self.send_response(answer.status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Requests are nobody's business on the terminal."""

    try:
        return ThreadingHTTPServer((ADDRESS, port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {ADDRESS}:{port} ({error}); choose another --port.") from error


_NAMES = (ADDRESS, "localhost")
_FOREIGN = Answer("This server answers to 127.0.0.1 and localhost only.\n", "text/plain", HTTPStatus.FORBIDDEN)
