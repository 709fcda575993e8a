"""Things that a configuration names: built-in ones, and those that installed packages bring by an entry point."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from himac.errors import ConfigError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class Registry:
    """Things of one kind by their names.

    Attributes:
        kind: What they are, for messages.
        group: The entry points of packages that bring more.
        builtin: Name -> `<module>:<attribute>`, imported when it is asked for. A package cannot replace them.
        besides: What else may stand in the place of a name, for messages.
    """

    kind: str
    group: str
    builtin: Mapping[str, str]
    besides: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """All names, the built-in ones first."""
        return [*self.builtin, *sorted(self._installed().keys() - self.builtin.keys())]

    def load(self, name: str) -> Any:
        """What a name stands for.

        Raises:
            ConfigError: nobody brings this name, or what brings it is broken.
            MissingDependencyError: it needs a package that is not installed.
        """
        if name in self.builtin:
            return resolve(self.kind, name, self.builtin[name])
        point = self._installed().get(name)
        if point is not None:
            return resolve(self.kind, name, f"{point.module}:{point.attr}")
        known = self.names()
        close = difflib.get_close_matches(name, known, n=1)
        suggestion = f"did you mean '{close[0]}'? " if close else ""
        raise ConfigError(f"unknown {self.kind} '{name}'; {suggestion}known: {', '.join([*known, *self.besides])}")

    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def resolve(kind: str, name: str, path: str, remedy: str = "reinstall its package") -> Any:
    """What `<module>:<attribute>` is; raises what `Registry.load` raises for one that is broken."""
    try:
        return resolve_name(path)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{kind} '{name}' needs the module '{error.name}'; install the package that brings it"
        ) from error
    except (ImportError, AttributeError, ValueError) as error:  # the last for an empty name of a module
        raise ConfigError(f"{kind} '{name}' cannot be loaded ({error}); {remedy}") from error
