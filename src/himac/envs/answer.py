"""The one door through which the answers of environments come in: nothing behind it sees what was not checked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from himac.errors import EnvironmentFailureError
from himac.scene import Content, Scene, observed

MAX_CHARACTERS = 65536
_ERROR_CHARACTERS = 8192
LARGEST = 1e9
"""Bound on rewards and scores: sums and squares of an episode's stay finite in single precision."""

_TEXTS = {key: f"info['{key}']" for key in ("instruction", "overview", "anchor")}
_FLAGS = {key: f"info['{key}']" for key in ("won", "invalid")}
_BOOLS = (bool, np.bool_)
# Steps take tens of microseconds, so common types are recognised first, and messages are made when they are needed.


@dataclass(frozen=True, slots=True)
class EnvResult:
    """What came of one request.

    Attributes:
        reward: 0 after a reset.
        info: What `himac.envs.base` names, where the environment gives it, of the types named there. Whatever else it
            gives stays behind.
        state: What a request for a snapshot is answered with; `None` where the environment has none.
        error: `None`, or why there is no result (a traceback when the environment raised). The environment has
            then been given up: the next request must be a reset, which builds a new one.
    """

    observation: Content
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    state: bytes | None = None


def failed(error: str) -> EnvResult:
    """There is no result. Of a long error its end is kept, and it is text that can be written."""
    told = error[-_ERROR_CHARACTERS:].encode(errors="backslashreplace").decode()
    return EnvResult("", 0.0, False, True, error=told)


def checked(answer: Any, stepped: bool, max_characters: int = MAX_CHARACTERS) -> EnvResult:
    """What `reset` or `step` returned as a result; texts longer than `max_characters` are cut.

    Raises:
        EnvironmentFailureError: it is not what `himac.envs.base` promises: a wrong type, a lone surrogate, a reward
            or score that is not finite or larger than `LARGEST`.
    """
    if not isinstance(answer, tuple) or len(answer) != (5 if stepped else 2):
        expected = "(observation, reward, terminated, truncated, info)" if stepped else "(observation, info)"
        raise EnvironmentFailureError(
            f"{'step' if stepped else 'reset'}() returned something {_kind(answer)}; return {expected}."
        )
    info = _info(answer[-1], max_characters)
    observation = _content(answer[0], info.get("anchor", ""), max_characters)
    if not stepped:
        return EnvResult(observation, 0.0, False, False, info)
    return EnvResult(
        observation, _number("reward", answer[1]), _flag("terminated", answer[2]), _flag("truncated", answer[3]), info
    )


def _info(info: Any, max_characters: int) -> dict[str, Any]:
    if type(info) is not dict and not isinstance(info, Mapping):
        raise EnvironmentFailureError(f"info is {_kind(info)}; return a dict.")
    kept = dict[str, Any]()
    for key, what in _TEXTS.items():
        if key in info:
            kept[key] = _text(what, info[key], max_characters)
    for key, what in _FLAGS.items():
        if key in info:
            kept[key] = _flag(what, info[key])
    commands = info.get("admissible_commands")
    if commands is not None:
        kept["admissible_commands"] = _commands(commands)
    score = info.get("score")
    if score is not None:
        kept["score"] = _number("info['score']", score)
    return kept


def _commands(commands: Any) -> list[str]:
    try:
        if isinstance(commands, list):
            told = "\n".join(commands)
            _text("info['admissible_commands']", told, len(told))
            return list(commands)
    except TypeError:
        pass
    raise EnvironmentFailureError(f"info['admissible_commands'] is {_kind(commands)}; return a list of str.")


def _content(observation: Any, anchor: str, room: int) -> Content:
    content = observation if type(observation) is str else observed(observation, caption=anchor)
    if isinstance(content, str):
        return _text("the observation", content, room)
    parts = list[Any]()
    for part in content.parts:
        if isinstance(part, str):
            part = _text("the observation", part, room)
            room -= len(part)
        parts += [part] if part else []
    return Scene(tuple(parts), content.caption)


def _text(what: str, text: Any, room: int) -> str:
    if not isinstance(text, str):
        raise EnvironmentFailureError(f"{what} is {_kind(text)}; return a str.")
    told: str = str.__str__(text)[:room]  # a subclass may have methods of its own
    if not told.isascii():
        try:
            told.encode()
        except UnicodeEncodeError as error:
            raise EnvironmentFailureError(
                f"{what} holds the lone surrogate {told[error.start]!r}, which is no character; decode it with "
                "errors='replace'."
            ) from None
    return told


def _number(what: str, number: Any) -> float:
    if type(number) is not float and not hasattr(type(number), "__float__"):
        raise EnvironmentFailureError(f"{what} is {_kind(number)}; return a number.")
    value = float(number)
    if not -LARGEST <= value <= LARGEST:
        raise EnvironmentFailureError(f"{what} is {value}; return a finite number, of at most {LARGEST:g} in size.")
    return value


def _flag(what: str, flag: Any) -> bool:
    if not isinstance(flag, _BOOLS):
        raise EnvironmentFailureError(f"{what} is {_kind(flag)}; return a bool.")
    return bool(flag)


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"
