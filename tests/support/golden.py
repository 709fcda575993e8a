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

    def assert_equal(self, recorded: Record, actions: Sequence[Any]) -> None:
        """Equal to a recorded game, else the first action after which something else was shown."""
        wanted = recorded["marks"]
        for number, mark in enumerate(self._marks):
            if mark != wanted[number * _MARK : (number + 1) * _MARK]:
                after = f"action {number - 1}, {actions[number - 1]!r}" if number else "reset"
                raise AssertionError(f"{recorded['id']}: not what the original showed after {after}")
        assert (recorded["id"], self.record()) == (recorded["id"], {key: recorded[key] for key in ("marks", "digest")})


def _read(path: Path) -> list[Record]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    assert found
    return found
