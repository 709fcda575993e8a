"""docs/configuration.md says what the configuration tree says."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from himac.config import (
    ALGORITHMS,
    ENGINES,
    Config,
    InitConfig,
    LoraConfig,
    ModelConfig,
    VisionInitConfig,
    algorithm_settings,
    engine_settings,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_configuration.py"))


def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in tree.items():
        inner = isinstance(value, dict) and f"{prefix}{key}" not in (
            "env.kwargs",
            "engine.extra",
            "engine.options",
            "train.learner.roles",
        )
        found |= leaves(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}"}
    return found


def test_the_page_is_up_to_date(script: dict[str, Any]) -> None:
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == script["render"](), "run: python docs/make_configuration.py"


def test_every_key_is_explained_once_and_no_other(script: dict[str, Any]) -> None:
    algorithms = [algorithm_settings(name) for name in ALGORITHMS.builtin]
    whole = {"init": InitConfig(vision=VisionInitConfig()), "model": ModelConfig(lora=LoraConfig())}
    trees = [leaves(Config(algo=algorithm(), **whole).model_dump(exclude={"engine"})) for algorithm in algorithms] + [
        leaves({"engine": settings().model_dump()}) for settings in map(engine_settings, ENGINES.builtin)
    ]
    keys = set().union(*trees)
    assert keys == set(script["MEANINGS"])
    rows = [line.split("`")[1] for line in script["render"]().splitlines() if line.startswith("| `")]
    # A key of an algorithm or engine stands in the section of each that has it, any other once.
    assert Counter(rows) == {
        key: sum(key in tree for tree in trees) if key.startswith(("algo.", "engine.")) else 1 for key in keys
    }
