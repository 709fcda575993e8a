"""Shared fixtures."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from support.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport", "shared_dir"]

# How long an example takes depends on what else the machine does.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_SHARED = Path(os.environ.get("HIMAC_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with official data and recorded reference cases; tests that need it skip without it."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip(f"reference data not found at {_SHARED}; set HIMAC_SHARED to the folder that holds it")
    return _SHARED
