"""Reads recorded reference cases."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any


def cases(shared: Path, name: str) -> list[dict[str, Any]]:
    """Every recorded case of a file; there is at least one."""
    with lzma.open(shared / "golden" / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    assert found
    return found


def algorithm_cases(shared: Path, kind: str) -> list[dict[str, Any]]:
    """The recorded numeric cases of one kind; there is at least one."""
    found = [case for case in cases(shared, "algorithms") if case["kind"] == kind]
    assert found
    return found
