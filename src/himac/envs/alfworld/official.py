"""The official ALFWorld games: what they are like, and whether a folder has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.official import Known, OfficialData, Part, compare
from himac.errors import DataError

KNOWN = {
    "train": Known(3553, "e978c9c6b3e9f63456c93268ca7ae2d9e05a71a3a6fb93b1d53d8117132ecb36"),
    "valid_seen": Known(140, "d296d72e0a18512081bedf237de03f6371f90a84f32aae7e0a91475900d5f956"),
    "valid_unseen": Known(134),
    "valid_train": Known(200, "5cf7e53ccc4b66f140ef15cbc940ca8592cefbbaa68027e1d30c8f643d544a38", needed=False),
}
"""Splits of ALFWorld 0.4 as the official loader has them; the hash is `AlfworldBenchmark.split_hash`."""


def check_data(root: Path) -> Iterator[Part]:
    """Every official split in the folder of `json_2.1.1`, or in a folder of packed files."""
    try:
        benchmark = AlfworldBenchmark(str(root))
    except DataError as error:
        yield Part("all splits", "missing", str(error))
        return
    found = benchmark.splits()
    for split, known in KNOWN.items():
        if split in found:
            yield compare(split, known, "games", partial(_read, benchmark, split))
        else:
            yield Part(split, "missing", f"no folder {split} with {known.count} games", known.needed)


def _read(benchmark: AlfworldBenchmark, split: str) -> tuple[int, str]:
    return len(benchmark.games(split)), benchmark.split_hash(split)


OFFICIAL = OfficialData(
    "ALFWORLD_DATA",
    "pip install 'alfworld==0.4.2', then alfworld-download (https://github.com/alfworld/alfworld)",
    check_data,
)
