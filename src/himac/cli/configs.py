"""`himac configs`: the configurations that come with the package."""

from __future__ import annotations

from himac.cli.console import console
from himac.errors import ConfigError
from himac.shipped import about, shipped


def configs_command(name: str | None) -> None:
    """List them, or print one."""
    known = shipped()
    if name is None:
        width = max(map(len, known))
        for key, path in known.items():
            console.print(f"{key:{width}s}  {about(path)}", soft_wrap=True, markup=False, highlight=False)
    elif name in known:
        print(known[name].read_text(encoding="utf-8"), end="")
    else:
        raise ConfigError(f"there is no configuration '{name}'; `himac configs` lists them")
