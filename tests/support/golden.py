"""Reads and makes recorded reference cases.

`tests/golden` holds what every clone has: numeric cases, and digests of games that the original programs played on our
own levels, games and products (`python -m golden.record_...`). The recorded transcripts themselves lie outside.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).resolve().parents[1] / "golden"
_MARK = 4
"""Hex digits kept of a running digest after each observation."""

Record = dict[str, Any]


def cases(shared: Path, name: str) -> list[Record]:
    """Every recorded case of a file outside the project; there is at least one."""
    return _read(shared / "golden" / f"{name}.jsonl.xz")


def shipped(name: str) -> list[Record]:
    """Every recorded case of a file that comes with the tests; there is at least one."""
    return _read(SHIPPED / f"{name}.jsonl.xz")


def algorithm_cases(kind: str) -> list[Record]:
    """The recorded numeric cases of one kind; there is at least one."""
    found = [case for case in shipped("algorithms") if case["kind"] == kind]
    assert found
    return found


def ship(name: str, records: Iterable[Record]) -> Path:
    """Write a file that comes with the tests; the same records give the same bytes."""
    path = SHIPPED / f"{name}.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf-8", preset=9 | lzma.PRESET_EXTREME) as file:
        file.writelines(f"{json.dumps(record)}\n" for record in records)
    return path


class Trail:
    """A running SHA-256 over what a game shows.

    The few digits kept after each observation name the first step at which two trails part; the digest of the whole
    says whether they are equal.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._marks: list[str] = []

    def add(self, *shown: Any) -> None:
        """Texts, numbers, truth values and containers of them, as JSON."""
        self._hash.update(json.dumps(shown).encode() + b"\n")
        self._marks.append(self._hash.hexdigest()[:_MARK])

    def record(self) -> Record:
        return {"marks": "".join(self._marks), "digest": self._hash.hexdigest()}

    def assert_equal(self, recorded: Record, steps: Sequence[Any]) -> None:
        """Equal to what was recorded; otherwise it names the first of the steps (one an observation) that differs."""
        assert len(steps) == len(self._marks) == len(recorded["marks"]) // _MARK, f"{recorded['id']}: other steps"
        for number, (step, mark) in enumerate(zip(steps, self._marks, strict=True)):
            wanted = recorded["marks"][number * _MARK : (number + 1) * _MARK]
            assert mark == wanted, f"{recorded['id']}: differs from the original at step {number}, {step!r}"
        assert self.record()["digest"] == recorded["digest"], f"{recorded['id']}: differs from the original"


def _read(path: Path) -> list[Record]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    assert found
    return found
