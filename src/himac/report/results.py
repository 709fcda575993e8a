"""Reading what runs and evaluations leave behind: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from himac.errors import DataError

Record = Mapping[str, Any]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Every record of a file. A last line without its newline was cut off by a crash and is left out.

    Raises:
        DataError: the file is missing, or a line is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}); check the path.") from error
    records = []
    complete = text[: text.rfind("\n") + 1]
    for number, line in enumerate(complete.split("\n"), 1):  # replies may hold other line separators
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"line {number} of {path} is not JSON ({error}); repair or remove that line.") from error
        if not isinstance(record, dict):
            raise DataError(f"line {number} of {path} is no JSON object; repair or remove that line.")
        records.append(record)
    return records


def read_json(path: Path) -> dict[str, Any]:
    """The one record of a file such as `summary.json`.

    Raises:
        DataError: the file is missing or holds no JSON object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}); run that cell again.") from error
    if not isinstance(record, dict):
        raise DataError(f"{path} holds no JSON object; run that cell again.")
    return record


def number(record: Record, key: str) -> float | None:
    """A value as a float, `None` where it is absent or no number."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
