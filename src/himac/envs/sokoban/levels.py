"""Reads levels: Boxoban and other text files (`; n` or blank lines between levels), and packed `.jsonl.xz` files."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from himac.envs.sokoban.level import Level, make_level
from himac.errors import DataError
from himac.files import encodable, parse_json, read_lines, read_text

PACKED = ".jsonl.xz"
TEXT = ".txt"
BUILTIN_DIR = Path(__file__).with_name("builtin")
BUILTIN_SETS = ("short", "long", "two", "three")
BUILTIN_SPLITS = ("train", "valid", "test")


@with_config(ConfigDict(strict=True, extra="forbid"))
class _Record(TypedDict):
    identifier: Annotated[str, Field(alias="id")]
    rows: list[str]
    moves: int | None
    pushes: int | None


_RECORD = TypeAdapter[Any](_Record)


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
        text = read_text(file)
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read as Sokoban levels ({error}); check the path.") from error
    return parse_levels(text, f"{prefix}{file.stem}")


def _read_packed(file: Path) -> Iterator[Level]:
    number = 0
    try:
        for number, line in enumerate(read_lines(file), 1):  # noqa: B007 - used in the messages below
            if line.strip():
                yield make_level(**_RECORD.validate_python(encodable(parse_json(line))))
    except OSError as error:
        raise DataError(f"'{file}' cannot be read after line {number} ({error}); copy it again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"'{file}', line {number} is not a packed level ({'.'.join(map(str, first['loc']))}: {first['msg']}); pack "
            "the file again."
        ) from error
    except ValueError as error:
        raise DataError(f"'{file}', line {number} is not a packed level ({error}); pack the file again.") from error
