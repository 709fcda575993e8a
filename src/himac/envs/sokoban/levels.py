"""Reads levels: Boxoban and other text files (`; n` or blank lines between levels), and packed `.jsonl.xz` files."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

from himac.envs.sokoban.level import Level, make_level
from himac.errors import DataError

PACKED = ".jsonl.xz"
TEXT = ".txt"
BUILTIN_DIR = Path(__file__).with_name("builtin")
BUILTIN_SETS = ("short", "long", "two", "three")
BUILTIN_SPLITS = ("train", "valid", "test")


def load_levels(path: str | Path, prefix: str = "") -> list[Level]:
    """The levels of a file, or of every level file below a folder, sorted by id.

    A level of a text file is named `<prefix><folders below the root/><file without suffix>-<number in the file>`; its
    optimal lengths are not known. Packed levels keep their own ids.

    Raises:
        DataError: nothing there, an unreadable file, or a level that breaks the rules of `make_level`.
    """
    root = Path(path)
    folder = root.is_dir()
    files = sorted(file for file in root.rglob("*") if file.name.endswith((PACKED, TEXT))) if folder else [root]
    levels: dict[str, Level] = {}
    for file in files:
        inner = "".join(f"{part}/" for part in file.parent.relative_to(root).parts) if folder else ""
        for level in _read_packed(file) if file.name.endswith(PACKED) else _read_text(file, prefix + inner):
            if levels.setdefault(level.id, level) is not level:
                raise DataError(f"'{file}' holds the level id '{level.id}' a second time; rename it or its file.")
    if not levels:
        raise DataError(f"'{root}' holds no Sokoban level; give a {TEXT} or {PACKED} file or a folder of them.")
    return [levels[identifier] for identifier in sorted(levels)]


def parse_levels(text: str, prefix: str = "level") -> list[Level]:
    """The levels of a text; lines that start with `;` and blank lines separate them."""
    boards, board = list[list[str]](), list[str]()
    for line in [*text.splitlines(), ""]:
        if line.strip() and not line.startswith(";"):
            board.append(line.rstrip())
        elif board:
            boards.append(board)
            board = []
    return [make_level(f"{prefix}-{number:04d}", board) for number, board in enumerate(boards)]


def write_levels(path: str | Path, levels: Iterable[Level]) -> None:
    """Write a packed file; the same levels give the same bytes."""
    lines = (
        json.dumps({"id": level.id, "rows": level.rows, "moves": level.moves, "pushes": level.pushes})
        for level in levels
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(target, "wt", encoding="utf-8", preset=9) as file:
        file.writelines(f"{line}\n" for line in lines)


def _read_text(file: Path, prefix: str) -> list[Level]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' cannot be read as Sokoban levels ({error}); check the path.") from error
    return parse_levels(text, f"{prefix}{file.stem}")


def _read_packed(file: Path) -> Iterator[Level]:
    number = 0
    try:
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - used in the messages below
                if line.strip():
                    record = json.loads(line)
                    yield make_level(record["id"], record["rows"], record["moves"], record["pushes"])
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"'{file}' cannot be read after line {number} ({error}); copy it again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"'{file}', line {number} is not a packed level ({error!r}); pack the file again.") from error
