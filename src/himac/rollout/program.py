"""Episodes are generators that yield commands and receive the answers; `collect` runs many at once.

A `Program` is such a generator that has not started: what it was called with, so that it can run in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from himac.engines.base import SamplingParams
from himac.scene import Placed


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the engine to continue `prompt_ids`; answered with a `Completion`."""

    session: Hashable
    prompt_ids: Sequence[int]
    params: SamplingParams
    pictures: tuple[Placed, ...] = ()


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
class Clone:
    """Take a snapshot of this program's environment; answered with an `EnvResult` that has it as `state`, or `None`."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Put this program's environment into the state of a snapshot; answered with an `EnvResult`."""

    state: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """The session's cache is not needed any more; answered at once with `None`."""

    session: Hashable


Command = Generate | GenerateMany | Reset | Step | Clone | Restore | Release
Commands = Iterable[Any]
"""What the collector runs: a `Program`, or any generator of commands."""

S = TypeVar("S")
A = TypeVar("A")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Program(Generic[S, A]):
    """A call of a generator function that starts when it is iterated.

    Attributes:
        function: Its module-level name finds it again in another process.
        spec, agent: The two first arguments, which every process has its own of.
    """

    function: Callable[..., Generator[Command, Any, Any]]
    spec: S
    agent: A
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __iter__(self) -> Generator[Command, Any, Any]:
        return self.function(self.spec, self.agent, *self.args, **self.kwargs)

    @property
    def call(self) -> tuple[str, str, tuple[Any, ...], Mapping[str, Any]]:
        """Module and name of the function and the arguments behind the first two; picklable."""
        return self.function.__module__, self.function.__qualname__, self.args, self.kwargs


def program(
    function: Callable[Concatenate[S, A, P], Generator[Command, Any, Any]],
) -> Callable[Concatenate[S, A, P], Program[S, A]]:
    """Turn a generator function of (spec, agent, ...) into one that returns a `Program`."""

    def build(spec: S, agent: A, /, *args: P.args, **kwargs: P.kwargs) -> Program[S, A]:
        return Program(function, spec, agent, args, kwargs)

    wrapped: Callable[Concatenate[S, A, P], Program[S, A]] = update_wrapper(build, function)
    return wrapped
