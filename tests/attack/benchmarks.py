"""Benchmarks with one fault each: `himac check-env` must name it."""

from __future__ import annotations

from pathlib import Path

from himac.envs.check import check_benchmark
from himac.errors import HimacError
from support.broken_benchmarks import FAULTS, Sound


def fault(number: int, folder: Path) -> str | None:
    name = list(FAULTS)[number % len(FAULTS)]
    try:
        check_benchmark(FAULTS[name][0]())
    except HimacError as error:
        return None if error.exit_code and "\n" not in str(error) else f"{name}: {error!r}"
    except Exception as error:
        return f"{name}: {type(error).__name__} instead of a sentence: {error}"
    return f"{name}: passed"


def sound(number: int, folder: Path) -> str | None:
    """What keeps every promise passes."""
    check_benchmark(Sound(), tasks_per_split=number + 1)
    return None
