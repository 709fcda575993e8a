"""`himac data`: which official files are there, what they hold, what is missing and where to get it."""

from __future__ import annotations

import os
from pathlib import Path

from himac.cli.console import console
from himac.envs.official import PLACES, OfficialData, official_data
from himac.errors import ConfigError, DataError


def data_command(benchmark: str | None, path: Path | None) -> None:
    """Check one benchmark, or every one whose folder is known.

    Raises:
        DataError: something is missing or broken; a benchmark without a folder only where it was named.
    """
    if benchmark is not None and benchmark not in PLACES:
        raise ConfigError(f"'{benchmark}' has no official data to check; choose one of {', '.join(PLACES)}")
    if path is not None and benchmark is None:
        raise ConfigError("--path is the folder of one benchmark; name it, as in: himac data alfworld --path FOLDER")
    failed = []
    for name in [benchmark] if benchmark else PLACES:
        data = official_data(name)
        named = str(path or os.environ.get(data.variable, ""))
        if named:
            good = _check(name, data, Path(named).expanduser())
        else:
            console.print(f"{name}: no folder; set {data.variable}, or give --path")
            good = benchmark is None
        if not good or not named:
            console.print(f"  to get it: {data.source}", soft_wrap=True)
        if not good:
            failed.append(name)
    if failed:
        raise DataError(f"official data of {', '.join(failed)} is missing or broken; get what is listed above")


def _check(name: str, data: OfficialData, root: Path) -> bool:
    console.print(f"{name}: {root}")
    good = True
    for part in data.check_data(root):
        optional = " (optional)" if part.state == "missing" and not part.needed else ""
        console.print(f"  {part.state + optional:<18} {part.name}: {part.detail}", soft_wrap=True)
        good = good and not part.failed
    return good
