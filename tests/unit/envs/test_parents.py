"""Workers end with the process that started them, even when it was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.parents import KINDS, orphans


@pytest.mark.parametrize("kind", KINDS[:3])
def test_no_environment_worker_outlives_its_parent(kind: str, tmp_path: Path) -> None:
    assert orphans(kind, tmp_path, within_s=8.0) == []


@pytest.mark.slow
def test_no_rollout_worker_outlives_its_parent(tmp_path: Path) -> None:
    assert orphans(KINDS[3], tmp_path, within_s=8.0) == []
