"""What is there of a benchmark's official data: parts that are found, read, counted, hashed and compared."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from himac.errors import DataError

State = Literal["ok", "changed", "missing", "broken"]

PLACES = {
    "alfworld": "himac.envs.alfworld.official",
    "sokoban": "himac.envs.sokoban.official",
    "webshop": "himac.envs.webshop.official",
}
"""Benchmarks with official data, and the module of each that has its `OFFICIAL`."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the official part is like.

    Attributes:
        count: How many tasks or products it has; `None` where that is not known.
        hash: Content hash (SHA-256, hex); `None` where it is not known.
        needed: Whether the data is incomplete without it.
    """

    count: int | None = None
    hash: str | None = None
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A split or file that was looked for.

    Attributes:
        state: `ok` can be read and agrees with what is known of it, `changed` has another number or hash than the
            official part, `missing` is not there, `broken` cannot be read.
        detail: Number and hash, or what is wrong.
    """

    name: str
    state: State
    detail: str
    needed: bool = True

    @property
    def failed(self) -> bool:
        """Whether the official data cannot be used as it is."""
        return self.state in ("changed", "broken") or (self.state == "missing" and self.needed)


@dataclass(frozen=True, slots=True)
class OfficialData:
    """Where the official data of a benchmark comes from, and its check.

    Attributes:
        variable: Environment variable that names its folder.
        source: How to get it, in a sentence.
        check_data: Looks at a folder; reads everything that is there, and yields each part once it is known.
    """

    variable: str
    source: str
    check_data: Callable[[Path], Iterator[Part]]


def official_data(benchmark: str) -> OfficialData:
    """The official data of a benchmark of `PLACES`; its module is imported only now."""
    return cast("OfficialData", importlib.import_module(PLACES[benchmark]).OFFICIAL)


def compare(name: str, known: Known, things: str, read: Callable[[], tuple[int, str | None]]) -> Part:
    """A part that is there, against the official one.

    Args:
        things: What is counted, in the plural.
        read: Number and hash of the part that is there (a hash of `None`: only counted), or a `DataError`.
    """
    try:
        count, digest = read()
    except DataError as error:
        return Part(name, "broken", str(error), known.needed)
    detail = f"{count} {things}" + (f", hash {digest[:12]}" if digest else "")
    if known.count not in (None, count):
        return Part(name, "changed", f"{detail}; the official number is {known.count}", known.needed)
    if digest and known.hash not in (None, digest):
        return Part(name, "changed", f"{detail}; the official hash is {str(known.hash)[:12]}", known.needed)
    if digest and known.hash is None:
        detail += " (the official one is not known here)"
    return Part(name, "ok", detail, known.needed)
