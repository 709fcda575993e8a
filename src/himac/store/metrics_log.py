"""An append-only file of metrics, one JSON object a line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from himac.errors import CheckpointError
from himac.store.atomic import WriteGuard

_READ_BYTES = 1 << 20


class MetricsLog:
    """A file of one JSON object a line; a line is written whole or not at all.

    Opening the file drops a last line that a crash cut short. Values that are not finite are stored as null.

    Args:
        durable: A line is on the disk when `append` returns, so that it survives a loss of power.
    """

    def __init__(self, path: str | Path, durable: bool = False) -> None:
        self.path = Path(path)
        self._durable = durable
        with WriteGuard(f"metrics file {self.path}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(exist_ok=True)
            if not self.path.is_file():
                raise OSError(f"{self.path.name} is no regular file")
            self._records, whole = _lines(self.path)
            if whole < self.path.stat().st_size:
                os.truncate(self.path, whole)

    def __len__(self) -> int:
        return self._records

    def append(self, record: dict[str, Any]) -> None:
        """Add one record.

        Raises:
            CheckpointError: The disk is full; the file is as before.
        """
        line = (json.dumps(finite(record), allow_nan=False) + "\n").encode()
        with WriteGuard(f"metrics file {self.path}"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                before = os.fstat(descriptor).st_size
                try:
                    written = os.write(descriptor, line)
                except OSError:
                    os.ftruncate(descriptor, before)
                    raise
                if written < len(line):
                    os.ftruncate(descriptor, before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self._durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._records += 1

    def truncate_to(self, n_records: int) -> None:
        """Keep the first `n_records` records, those of the checkpoint that is resumed.

        Raises:
            CheckpointError: There are fewer.
        """
        if not 0 <= n_records <= self._records:
            raise CheckpointError(
                f"{self.path} has {self._records} records but the checkpoint was saved after {n_records}; "
                "restore the file or start a new run."
            )
        with WriteGuard(f"metrics file {self.path}"):
            end = 0
            with self.path.open("rb") as lines:
                for _ in range(n_records):
                    end += len(lines.readline())
            os.truncate(self.path, end)
        self._records = n_records

    def read(self) -> list[dict[str, Any]]:
        """All records."""
        with self.path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def _lines(path: Path) -> tuple[int, int]:
    """Complete lines of a file, and the byte behind them."""
    count, whole, size = 0, 0, 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            count += block.count(b"\n")
            last = block.rfind(b"\n") + 1
            whole = size + last if last else whole
            size += len(block)
    return count, whole


def finite(value: Any) -> Any:
    """As it is stored and read again: plain numbers, and null for those that are not finite."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
