"""Reading what runs and evaluations leave behind: one JSON object a line, of known form where it matters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic asks for these before Python 3.12
)

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from himac.errors import DataError
from himac.files import parse_json, read_json, read_lines
from himac.types import StopReason

Record = Mapping[str, Any]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
STRICT = ConfigDict(strict=True)


@with_config(STRICT)
class Metric(TypedDict):
    """A line of `metrics.jsonl`, as far as anything depends on it."""

    kind: NotRequired[str]
    iteration: NotRequired[Count]
    phase: NotRequired[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$", max_length=40)]]
    env_steps: NotRequired[Count]


@with_config(STRICT)
class Success(TypedDict):
    """What every summary of an evaluation holds."""

    success: Finite


@with_config(STRICT)
class Evaluated(Success):
    """An evaluation during training."""

    iteration: Count
    env_steps: Count
    tokens: Count


@with_config(STRICT)
class Outcome(TypedDict):
    """A line of `results.jsonl`, as tables need it."""

    task_id: str
    success: bool
    split_hash: NotRequired[str]


@with_config(STRICT)
class _Turn(TypedDict):
    subgoal: str | None
    action: str | None
    observation: str
    sub_done: bool
    invalid: NotRequired[bool]
    reward: NotRequired[Finite]
    reply: NotRequired[str | None]


_Ended = TypedDict("_Ended", {"return": Finite, "stop": Annotated[str, AfterValidator(StopReason)], "env_steps": Count})


@with_config(STRICT)
class Told(Outcome, _Ended):
    """A line of `results.jsonl` whose episode can be told."""

    kind: str
    score: NotRequired[Finite | None]
    error: NotRequired[str | None]
    blueprint: NotRequired[list[str] | None]
    plan: NotRequired[str | None]
    plan_error: NotRequired[str | None]
    opening: NotRequired[str]
    transcript: NotRequired[list[_Turn] | None]


def _is_piece(piece: list[str | float | None]) -> list[str | float | None]:
    """`[text, tokens]` or `[text, log-probability, advantage or null]`."""
    text, value, *rest = [*piece, None][:4] if len(piece) in (2, 3) else [None, None]
    if not isinstance(text, str) or not isinstance(value, float) or any(isinstance(more, str) for more in rest):
        raise ValueError("a piece is [text, tokens] or [text, log-probability, advantage]")
    return piece


@with_config(STRICT)
class _Context(TypedDict):
    role: str
    subgoal: str | None
    tokens: Count
    pieces: list[Annotated[list[str | Finite | None], AfterValidator(_is_piece)]]


@with_config(STRICT)
class Recorded(Told):
    """A line of `episodes.jsonl`."""

    iteration: Count
    phase: str
    group: str
    member: Count
    contexts: list[_Context]


METRIC, SUCCESS, EVALUATED = (TypeAdapter[Any](form) for form in (Metric, Success, Evaluated))
OUTCOME, TOLD, RECORDED = (TypeAdapter[Any](form) for form in (Outcome, Told, Recorded))


def read_jsonl(path: Path, form: TypeAdapter[Any] | None = None) -> list[dict[str, Any]]:
    """Every record of a file. A last line without its newline was cut off by a crash and is left out.

    Args:
        form: What each record must be like.

    Raises:
        DataError: the file is missing, or a line is no JSON object or of another form.
    """
    records = list[dict[str, Any]]()
    number = 0
    try:
        for number, line in enumerate(read_lines(path), 1):  # noqa: B007 - used in the message below
            if line.strip() and line.endswith(b"\n"):
                records.append(conforming(parse_json(line), form))
    except OSError as error:
        raise DataError(f"cannot read {path} ({error}); check the path.") from error
    except ValueError as error:
        raise DataError(f"line {number} of {path} is not usable ({error}); repair or remove that line.") from error
    return records


def read_record(path: Path, form: TypeAdapter[Any] | None = None) -> dict[str, Any]:
    """The one record of a file such as `summary.json`.

    Raises:
        DataError: the file is missing, or holds no JSON object or one of another form.
    """
    try:
        return conforming(read_json(path), form)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}); repeat that run.") from error


def conforming(record: Any, form: TypeAdapter[Any] | None = None) -> dict[str, Any]:
    """The record itself; `ValueError` with the first thing that is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    try:
        if form is not None:
            form.validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return record


def number(record: Record, key: str) -> float | None:
    """A value as a float, `None` where it is absent or no finite number."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
