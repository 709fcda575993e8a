"""Shared fixtures."""

import os
from pathlib import Path

import pytest

_SHARED = Path(os.environ.get("HIMAC_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with official data and recorded reference cases; tests that need it skip without it."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip(f"reference data not found at {_SHARED}; set HIMAC_SHARED to the folder that holds it")
    return _SHARED
