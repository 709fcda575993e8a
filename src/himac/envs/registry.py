"""Benchmarks by name: the built-in ones, Gymnasium ids, classes of any module, and those of installed packages.

`my_module:MyBenchmark` names a class, of a module in the working directory too. A package adds a name of its own with
an entry point:

    [project.entry-points."himac.benchmarks"]
    chess = "my_package.chess:ChessBenchmark"
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from himac.envs.base import Benchmark
from himac.errors import ConfigError, MissingDependencyError

GROUP = "himac.benchmarks"
GYM_PREFIX = "gym:"
BUILTIN = {
    "alfworld": "himac.envs.alfworld.benchmark:AlfworldBenchmark",
    "chores": "himac.envs.alfworld.chores:ChoresBenchmark",
    "sokoban": "himac.envs.sokoban.benchmark:SokobanBenchmark",
    "webshop": "himac.envs.webshop.benchmark:WebShopBenchmark",
}


def benchmark_names() -> list[str]:
    """Every name `make_benchmark` knows, `gym:<id>` apart."""
    return sorted({*BUILTIN, *_installed()})


def make_benchmark(name: str, **kwargs: Any) -> Benchmark:
    """A benchmark by its name; its module is imported only now.

    Args:
        name: A built-in or installed benchmark, `gym:<Gymnasium id>`, or `<module>:<class>`.
        kwargs: `env.kwargs` of the configuration.

    Raises:
        ConfigError: an unknown name or an argument the benchmark does not take.
        MissingDependencyError: the benchmark needs a package that is not installed.
    """
    if name.startswith(GYM_PREFIX):
        from himac.envs.gym import GymBenchmark

        if not name.removeprefix(GYM_PREFIX):
            raise ConfigError("env.name is 'gym:' without an id; write gym:<id>, for example gym:my_package:Maze-v0.")
        kwargs = {"id": name.removeprefix(GYM_PREFIX), **kwargs}
        factory: Any = GymBenchmark
    else:
        factory = _load(name)
    _check_arguments(name, factory, kwargs)
    return cast("Benchmark", factory(**kwargs))


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(name: str) -> Any:
    """The class or function behind a name; built-in names cannot be replaced by a package."""
    try:
        if ":" in name or name in BUILTIN:
            module, _, attribute = BUILTIN.get(name, name).partition(":")
            if name not in BUILTIN and os.getcwd() not in sys.path:  # a console script does not search there
                sys.path.append(os.getcwd())
            return getattr(importlib.import_module(module), attribute)
        point = _installed().get(name)
        if point is not None:
            return point.load()
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"benchmark '{name}' needs the module '{error.name}'; install the package that brings it."
        ) from error
    except (ImportError, AttributeError, ValueError) as error:  # the last for an empty name of a module
        remedy = "correct the module or the name" if ":" in name else "reinstall its package"
        raise ConfigError(f"benchmark '{name}' cannot be loaded ({error}); {remedy}.") from error
    known = benchmark_names()
    close = difflib.get_close_matches(name, known, n=1)
    suggestion = f"did you mean '{close[0]}'? " if close else ""
    raise ConfigError(
        f"unknown benchmark '{name}'; {suggestion}known: {', '.join(known)}, gym:<Gymnasium id>, <module>:<class>."
    )


def _check_arguments(name: str, factory: Any, kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        takes = ", ".join(key for key in signature.parameters if key != "self")
        raise ConfigError(f"benchmark '{name}' refuses env.kwargs ({error}); it takes: {takes}.") from error
