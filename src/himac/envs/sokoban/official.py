"""The Boxoban levels: what they are like, and whether a folder has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from himac.envs.official import Known, OfficialData, Part, compare
from himac.envs.sokoban.levels import TEXT, load_levels
from himac.errors import DataError

KNOWN = {
    "medium": {"train": Known(450_000), "valid": Known(50_000)},
    "unfiltered": {"train": Known(900_000), "valid": Known(100_000), "test": Known(1_000)},
    "hard": {"": Known(3_332)},
}
"""Splits of each set; `hard` has none."""

FIRST_FILES = {
    "medium/train": "8b8ed6e1100c6a2e489c96c6aed87867be2530615cc185fc4f595ccefe8e7f25",
    "medium/valid": "f45b138f9e04800fc8419b185afb029ac58b0942c17ac35c7d5bd1292afa2da9",
    "unfiltered/train": "134292ad1a84e6ed2e8f028ffb50f8bb8edea0db37eab1e8db1df1413185f6aa",
    "unfiltered/valid": "f4d5d0aeb47f7445c3ae622873b96878591810737a01d315a8ba6738b29a2c40",
}
"""Hash of the first file (1000 levels), as `SokobanBenchmark.split_hash`; those of whole splits are not known."""


def check_data(root: Path) -> Iterator[Part]:
    """Every split of the sets that are in a copy of the Boxoban levels; at least one set must be there."""
    none = not any((root / name).is_dir() for name in KNOWN)
    for name, splits in KNOWN.items():
        if not (root / name).is_dir():
            yield Part(name, "missing", f"no folder {root / name}", needed=none)
            continue
        for split, known in splits.items():
            part, folder = f"{name}/{split}".rstrip("/"), root / name / split
            if folder.is_dir():
                yield _check_split(part, folder, known)
            else:
                yield Part(part, "missing", f"no folder {folder} with {known.count} levels")


def _check_split(name: str, folder: Path, known: Known) -> Part:
    """One file in memory at a time: a split has up to 900 of them."""
    first: list[str] = []

    def read() -> tuple[int, str]:
        count, whole = 0, hashlib.sha256()
        for file in sorted(folder.glob(f"*{TEXT}")):
            for level in load_levels(file, f"{folder.name}/"):
                whole.update(level.content)
                count += 1
            first.append(whole.hexdigest())
        if not count:
            raise DataError(f"{folder} holds no level file.")
        return count, whole.hexdigest()

    part = compare(name, known, "levels", read)
    if first and first[0] != FIRST_FILES.get(name, first[0]):
        return Part(name, "changed", f"{part.detail}; its first file is not the official one")
    return part


OFFICIAL = OfficialData(
    "BOXOBAN_DATA",
    "git clone https://github.com/google-deepmind/boxoban-levels",
    check_data,
)
