"""docs/configuration.md says what the configuration tree says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from himac.config import Config, GrpoConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_configuration.py"))


def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in tree.items():
        inner = isinstance(value, dict) and f"{prefix}{key}" != "env.kwargs"
        found |= leaves(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}"}
    return found


def test_the_page_is_up_to_date(script: dict[str, Any]) -> None:
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == script["render"](), "run: python docs/make_configuration.py"


def test_every_key_is_explained_once_and_no_other(script: dict[str, Any]) -> None:
    keys = leaves(Config().model_dump()) | leaves(Config(algo=GrpoConfig()).model_dump())
    assert keys == set(script["MEANINGS"])
    rows = [line.split("`")[1] for line in script["render"]().splitlines() if line.startswith("| `")]
    assert set(rows) == keys
    assert sorted(key for key in rows if rows.count(key) > 1) == sorted(["algo.name", "algo.tasks", "algo.std"] * 2)
