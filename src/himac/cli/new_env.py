"""`himac new-env`: a small package with an environment that trains as it is."""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

from himac.cli.console import console
from himac.envs.registry import BENCHMARKS
from himac.errors import ConfigError
from himac.store.atomic import WriteGuard, publish

_TEMPLATES = Path(__file__).parents[1] / "templates" / "environment"
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "{name}/__init__.py",
    "env.py": "{name}/env.py",
    "benchmark.py": "{name}/benchmark.py",
    "config.yaml": "config.yaml",
    "test.py": "tests/test_{name}.py",
}
"""Template -> file."""


def new_env_command(name: str, parent: Path) -> None:
    """Write the package into `parent/name`.

    Raises:
        ConfigError: the name cannot be that of a package, is taken, or the folder is there already.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(f"'{name}' cannot be the name of a package; use small letters, digits and underscores")
    if name in BENCHMARKS.names() or find_spec(name) is not None:
        raise ConfigError(f"the name '{name}' is taken by an installed package; choose another one")
    target = parent / name
    if target.exists():
        raise ConfigError(f"{target} is there already; choose another name or --output")
    title = "".join(part.capitalize() for part in name.split("_"))

    def fill(folder: Path) -> None:
        for template, place in _FILES.items():
            text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
            path = folder / place.format(name=name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(Template(text).substitute(name=name, title=title), encoding="utf-8")

    with WriteGuard(f"package {target}"):
        publish(target, fill)
    console.print(
        f"{target}: an environment that trains as it is\n"
        f"  cd {target}\n"
        f"  himac check-env {name}.benchmark:{title}Benchmark\n"
        "  himac train config.yaml"
    )
