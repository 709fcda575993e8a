"""Episodes are generators that yield commands and receive the answers; `collect` runs many at once."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from himac.engines.base import SamplingParams


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the engine to continue `prompt_ids`; answered with a `Completion`."""

    session: Hashable
    prompt_ids: Sequence[int]
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class GenerateMany:
    """Several requests at once; answered with a list of `Completion` in the same order."""

    requests: tuple[Generate, ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """Set up a task in this program's environment; answered with an `EnvResult`."""

    options: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class Step:
    """Take an action in this program's environment; answered with an `EnvResult`."""

    action: str


@dataclass(frozen=True, slots=True)
class Release:
    """The session's cache is not needed any more; answered at once with `None`."""

    session: Hashable


Command = Generate | GenerateMany | Reset | Step | Release
Program = Generator[Command, Any, Any]
