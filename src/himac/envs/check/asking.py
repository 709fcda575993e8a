"""Calls into code that is being checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from himac.errors import ConfigError, HimacError

T = TypeVar("T")


def ask(what: str, call: Callable[[], T]) -> T:
    """What the call returns.

    Raises:
        HimacError: as the call raised it; `ConfigError` for whatever else it raised.
    """
    try:
        return call()
    except HimacError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{what} raised {type(error).__name__}: {' '.join(str(error).split())[:300]}; correct it, and let it raise "
            "a himac.errors.DataError where a user can repair the cause."
        ) from error


def kind(value: Any) -> str:
    """The type in words."""
    return f"type {type(value).__name__}"
