"""Shops for the tests: the generated one and, where the reference data is, the official one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.envs.webshop.store import Store


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is written to the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("HIMAC_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def builtin(cache: Path) -> Store:
    return WebShopBenchmark().store


@pytest.fixture(scope="session")
def official(cache: Path, shared_dir: Path) -> Store:
    return WebShopBenchmark(str(shared_dir / "data" / "webshop")).store
