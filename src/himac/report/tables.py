"""Success tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from himac.report.results import Record

ALL = "all"


@dataclass(frozen=True, slots=True)
class SuccessRow:
    """Success of one task type.

    Attributes:
        success: Fraction in [0, 1].
        stderr: Standard error of that fraction, sqrt(p (1 - p) / n).
    """

    kind: str
    tasks: int
    success: float
    stderr: float
    return_mean: float
    steps_mean: float


def success_rows(results: Iterable[Record]) -> list[SuccessRow]:
    """One row a task type, sorted by name, and `all` at the end; nothing for no results."""
    kinds: dict[str, list[Record]] = {}
    for record in results:
        kinds.setdefault(str(record["kind"]), []).append(record)
    rows = [_row(kind, kinds[kind]) for kind in sorted(kinds)]
    everything = [record for records in kinds.values() for record in records]
    return [*rows, _row(ALL, everything)] if everything else []


def success_table(results: Iterable[Record]) -> str:
    """Markdown table of `success_rows`; percentages with their standard errors."""
    rows = [
        (row.kind, str(row.tasks), with_error(row), f"{row.return_mean:.2f}", f"{row.steps_mean:.1f}")
        for row in success_rows(results)
    ]
    return markdown_table(("type", "tasks", "success %", "return", "steps"), rows)


def change_table(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Markdown table of success before and after training, by type (`success/<type>`) and in all (`success`)."""
    prefix = "success/"
    kinds = sorted(key for key in {*before, *after} if key.startswith(prefix))
    rows = []
    for key, label in [*((key, key.removeprefix(prefix)) for key in kinds), ("success", ALL)]:
        first, last = before.get(key), after.get(key)
        change = "" if first is None or last is None else f"{100 * (last - first):+.1f}"
        rows.append((label, percent(first), percent(last), change))
    return markdown_table(("type", "before %", "after %", "change"), rows)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, first column left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(fraction: float | None) -> str:
    """0.125 -> 12.5; a dash for nothing."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def with_error(row: SuccessRow) -> str:
    """Success and standard error in percent."""
    return f"{100 * row.success:.1f} ± {100 * row.stderr:.1f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(kind: str, records: Sequence[Record]) -> SuccessRow:
    count = len(records)
    success = sum(bool(record["success"]) for record in records) / count
    return SuccessRow(
        kind=kind,
        tasks=count,
        success=success,
        stderr=math.sqrt(success * (1 - success) / count),
        return_mean=sum(float(record.get("return", 0.0)) for record in records) / count,
        steps_mean=sum(float(record.get("env_steps", 0)) for record in records) / count,
    )
