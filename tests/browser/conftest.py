"""A real browser with the page of made-up runs; console messages and requests are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from himac.report.web import write_page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright; run 'make test-browser'")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser ({', '.join(NAMES)}); install one, for example Debian's package chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Shown:
    """An open page.

    Attributes:
        said: What the console told, errors of scripts included.
        asked: Addresses of all requests.
    """

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, address: str) -> Any:
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=yes]")
        return self.page


@pytest.fixture
def shown(browser: Any) -> Iterator[Shown]:
    page = browser.new_page(viewport={"width": 1200, "height": 800}, color_scheme="light")
    page.set_default_timeout(20_000)
    yield Shown(page)
    page.close()


@pytest.fixture
def report(shown: Shown, tmp_path: Path) -> Callable[..., Shown]:
    """Writes the page of some runs and opens it as a file."""

    def write(*folders: Path) -> Shown:
        shown.open(write_page(folders, tmp_path / "page" / "report.html").as_uri())
        return shown

    return write
