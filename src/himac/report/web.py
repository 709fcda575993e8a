"""The page: one HTML file with its style, scripts and data inside, which fetches nothing and runs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from himac import __version__
from himac.inert import inert
from himac.report.runs import find_runs, read_runs, run_data, series_data, tables
from himac.report.trajectories import MOST_EPISODES, Trajectories, trajectories
from himac.store.atomic import WriteGuard, write_text

PAGE = "report.html"
STYLES = ("vendor/uPlot.min.css", "style.css", "episodes.css", "print.css")
LIBRARY = "vendor/uPlot.iife.min.js"
SCRIPTS = (
    *("dom.js", "data.js", "words.js", "theme.js", "tables.js"),
    *("curve_data.js", "chart.js", "curves.js", "shares.js", "overview.js", "configuration.js"),
    *("virtual_list.js", "filters.js", "search.js", "tokens.js", "episode.js", "compare.js", "episodes.js"),
    *("blueprints.js", "follow.js", "main.js"),
)
"""In this order inside one function: later files use what earlier ones define."""

_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def write_page(folders: Sequence[Path], output: Path, most: int = MOST_EPISODES) -> Path:
    """Write the report of one run, several runs or whole folders of runs; a reader sees the old page or the new one.

    Raises:
        DataError: a folder holds no run, or a file of a run is damaged.
    """
    page = page_of(folders, output.resolve().parent.name if len(folders) > 1 else folders[0].resolve().name, most)
    with WriteGuard(f"report {output}"):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, page)
    return output


def page_of(folders: Sequence[Path], title: str, most: int = MOST_EPISODES, version: str = "") -> str:
    """The page as text.

    Args:
        version: Of the run's files, for a page that is served and follows them; see `server.py`.
    """
    runs = read_runs(find_runs(folders))
    told = trajectories(runs, most)
    data = {
        "title": title,
        "himac": __version__,
        "version": version,
        "runs": [run_data(run) for run in runs],
        "series": series_data(runs),
        "tables": tables(runs, folders),
        "sources": told.sources,
        "episodes": told.episodes,
        "blueprints": told.blueprints,
        "contexts": told.contexts,
        "left_out": told.left_out,
    }
    return assembled(title, data, told, follows=bool(version))


def assembled(title: str, data: Mapping[str, Any], told: Trajectories, follows: bool = False) -> str:
    """Template, style, scripts and data in one text.

    Args:
        follows: The page may ask its own server for news.
    """
    style = "\n".join(map(_asset, STYLES))
    own = "\n".join(map(_asset, SCRIPTS))
    scripts = [_asset(LIBRARY), f"(() => {{\n'use strict';\n{own}\n}})();"]
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(content_hash, scripts)),
        "style-src": content_hash(style),
        "img-src": "data:",
        **({"connect-src": "'self'"} if follows else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    parts = {
        "POLICY": "; ".join(f"{kind} {allowed}" for kind, allowed in policy.items()),
        "TITLE": html.escape(inert(title)),
        "STYLE": style,
        "DATA": "\n".join(
            [
                _block("data", "application/json", escaped_json(_inert(data))),
                *(_block(f"chunk-{n}", "text/plain", chunk) for n, chunk in enumerate(told.chunks)),
                *(_block(f"picture-{key}", "text/plain", picture) for key, picture in told.pictures.items()),
            ]
        ),
        "SCRIPTS": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    pieces = _asset("page.html").split("@@")
    return "".join(parts[piece] if n % 2 else piece for n, piece in enumerate(pieces))


def escaped_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def _block(name: str, kind: str, content: str) -> str:
    return f'<script type="{kind}" id="{name}">{content}</script>'


def content_hash(content: str) -> str:
    """How a Content-Security-Policy names a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (resources.files("himac.report") / "page" / name).read_text(encoding="utf-8")


def _inert(value: Any) -> Any:
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, Mapping):
        return {inert(str(key)): _inert(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_inert(part) for part in value]
    return value
