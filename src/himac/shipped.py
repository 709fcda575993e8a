"""Configurations that come with the package, by name: `alfworld/demo` is `configs/alfworld/demo.yaml`."""

from __future__ import annotations

import difflib
from pathlib import Path

_FOLDER = Path(__file__).with_name("configs")


def shipped() -> dict[str, Path]:
    """Every configuration and matrix by its name, sorted."""
    files = sorted(_FOLDER.glob("*/*.yaml"))
    return {path.relative_to(_FOLDER).with_suffix("").as_posix(): path for path in files}


def located(path: Path) -> Path:
    """The file itself, or the shipped one of this name where there is no such file; else the path as it is."""
    return path if path.exists() else shipped().get(_name(path), path)


def suggestion(path: Path) -> str:
    """What to do about a configuration that is not there."""
    close = difflib.get_close_matches(_name(path), shipped(), n=1)
    return f"did you mean '{close[0]}'?" if close else "check the path, or choose one of `himac configs`"


def about(path: Path) -> str:
    """The first sentence of a configuration's comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(words).partition(". ")[0].rstrip(".:") if words else ""


def _name(path: Path) -> str:
    return path.as_posix().removeprefix("configs/").removesuffix(".yaml")
