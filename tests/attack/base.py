"""What an attack is: many tries at breaking one promise, and a sentence for each that succeeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Try = Callable[[int, Path], str | None]
"""One try, by its number and an empty folder of its own: `None`, or one sentence that says what broke."""


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    Attributes:
        name: What is attacked and how, in a few words.
        attempt: Makes try number n. Everything random in it derives from that number. It must come back by itself.
        tries: In `make attack`, which may take 30 minutes in all.
        sample: Of these, in `make test`: seconds.
        limit_s: A try that takes longer has failed.
    """

    name: str
    attempt: Try
    tries: int
    sample: int
    limit_s: float = 60.0
