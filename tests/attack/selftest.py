"""Attempts that fail on purpose: the runner must notice."""

from __future__ import annotations

import os
from pathlib import Path


def hangs_once(number: int, folder: Path) -> str | None:
    while number == 1:
        pass
    return None


def dies(number: int, folder: Path) -> str | None:
    os._exit(3)
