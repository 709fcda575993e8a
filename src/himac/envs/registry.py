"""Benchmarks by name: the built-in ones, Gymnasium ids, classes of any module, and those of installed packages.

`my_module:MyBenchmark` names a class, of a module in the working directory too. A package adds a name of its own with
an entry point:

    [project.entry-points."himac.benchmarks"]
    chess = "my_package.chess:ChessBenchmark"
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any, cast

from himac.envs.base import Benchmark
from himac.errors import ConfigError
from himac.plugins import Registry, resolve

GYM_PREFIX = "gym:"
BENCHMARKS = Registry(
    "benchmark",
    "himac.benchmarks",
    {
        "alfworld": "himac.envs.alfworld.benchmark:AlfworldBenchmark",
        "babyai": "himac.envs.babyai:BabyAiBenchmark",
        "chores": "himac.envs.alfworld.chores:ChoresBenchmark",
        "sokoban": "himac.envs.sokoban.benchmark:SokobanBenchmark",
        "webshop": "himac.envs.webshop.benchmark:WebShopBenchmark",
    },
    ("gym:<Gymnasium id>", "<module>:<class>"),
)


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


def kind_titles(name: str) -> Mapping[str, str]:
    """Short titles of a benchmark's task types in their order, for tables; none for one that has no `kind_titles`."""
    titles: Mapping[str, str] = {} if name.startswith(GYM_PREFIX) else getattr(_load(name), "kind_titles", {})
    return titles


def _load(name: str) -> Any:
    """The class or function behind a name."""
    if ":" not in name:
        return BENCHMARKS.load(name)
    if os.getcwd() not in sys.path:  # a console script does not search there
        sys.path.append(os.getcwd())
    return resolve("benchmark", name, name, "correct the module or the name")


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
