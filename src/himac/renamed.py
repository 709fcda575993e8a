"""Configuration keys with a new name; wherever a configuration is read, the former one holds for one version more."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from himac.errors import ConfigError

RENAMED = {
    "algo.plans": "algo.num_blueprints",
    "algo.executions": "algo.num_rollouts",
    "algo.samples": "algo.group_size",
}
"""Former -> present, both dotted, in the same section."""

_told = set[str]()

logger = logging.getLogger(__name__)


def present_names(value: Any, key: str = "") -> tuple[Any, frozenset[str]]:
    """What stands at a dotted key, without former names below it, and the former names that were there.

    Raises:
        ConfigError: a former and a present name of one setting.
    """
    if not isinstance(value, dict):
        return value, frozenset()
    section, found = {}, frozenset[str]()
    for name, child in value.items():
        dotted = f"{key}.{name}" if key else str(name)
        if key and dotted in RENAMED:
            found |= {dotted}
            name = RENAMED[dotted].rpartition(".")[2]
            if name in value:
                raise given_twice(dotted)
        section[name], below = present_names(child, dotted)
        found |= below
    return section, found


def given_twice(former: str) -> ConfigError:
    """The error for two names of one setting."""
    return ConfigError(f"'{former}' is the former name of '{RENAMED[former]}', and both are given; remove '{former}'")


def warn(former: Iterable[str]) -> None:
    """Tell of former names in one line, of each only once in a process: a matrix reads one file many times."""
    new = [name for name in RENAMED if name in set(former) - _told]
    _told.update(new)
    if new:
        names = ", ".join(f"{name} is now {RENAMED[name]}" for name in new)
        logger.warning("configuration keys with former names, which the next version refuses: %s", names)
