"""The page as a file: it holds everything, and nothing that it holds can run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from himac.errors import DataError
from himac.report.trajectories import Trajectories
from himac.report.web import LIBRARY, SCRIPTS, STYLES, assembled, escaped_json, page_of, write_page
from support.run_folders import make_run, told, write_lines


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is not None:
            self.texts.append((*self.found[-1], data))


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_every_file_of_the_page_is_used() -> None:
    folder = resources.files("himac.report") / "page"
    names = {file.name for file in folder.iterdir() if file.is_file()}
    assert names == {name for name in (*SCRIPTS, *STYLES, "page.html") if "/" not in name}
    assert (folder / "vendor" / "uPlot.LICENSE").is_file()
    assert (folder / LIBRARY).is_file()


def test_only_its_own_scripts_and_styles_run(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "run")], "run")
    elements = Elements(page)
    policy = next(a["content"] for tag, a in elements.found if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    running = [text for tag, attrs, text in elements.texts if tag == "script" and "type" not in attrs]
    (style,) = [text for tag, _, text in elements.texts if tag == "style"]
    assert f"script-src {' '.join(map(sha256, running))}; style-src {sha256(style)}; img-src data:; base-uri" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    assert len(running) == 2
    # Nothing is loaded, and no element has a handler or a style of its own.
    attributes = [name for _, attrs in elements.found for name in attrs]
    assert not [name for name in attributes if name == "src" or name == "style" or name.startswith("on")]
    assert not [tag for tag, _ in elements.found if tag in ("link", "iframe", "img", "object")]


def test_text_goes_in_as_text() -> None:
    """What would read text as markup or as code stands in none of the scripts."""
    folder = resources.files("himac.report") / "page"
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|\.href ="
    assert [name for name in SCRIPTS if re.search(banned, (folder / name).read_text(encoding="utf-8"))] == []


def test_data_cannot_end_its_element(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    hostile = "</script><script>alert(1)</script><!-- \u2028 &amp;"
    write_lines(folder / "eval" / "iteration-000002" / "results.jsonl", [told(hostile, hostile)])
    page = page_of([folder], hostile)
    elements = Elements(page)
    assert len([1 for tag, attrs in elements.found if tag == "script" and "type" not in attrs]) == 2
    (data,) = [text for tag, attrs, text in elements.texts if attrs.get("id") == "data"]
    assert json.loads(data)["title"] == hostile
    assert json.loads(data)["episodes"]["words"]["task"] == ["a", "b", "train-a1/0", hostile]
    assert "<title>&lt;/script&gt;" in page


def test_escapes() -> None:
    assert escaped_json(["<>&\u2028\u2029"]) == '["\\u003c\\u003e\\u0026\\u2028\\u2029"]'


def test_a_page_that_is_served_may_ask_its_server() -> None:
    page = assembled("t", {"version": "1"}, Trajectories(), follows=True)
    assert "connect-src 'self'; " in page


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    first = write_page([folder], tmp_path / "a" / "report.html").read_bytes()
    assert write_page([folder], tmp_path / "b" / "report.html").read_bytes() == first
    assert len(first) < 250_000


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        write_page([tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
