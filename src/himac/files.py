"""Reading files that others may have written: within bounds of size and depth, and never more than plain values.

All raise `OSError` where there is nothing to read, and `ValueError` with one line where what is there cannot be used.
"""

from __future__ import annotations

import json
import lzma
import os
import reprlib
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import yaml

SETTINGS_BYTES = 1 << 20
"""Of a configuration or matrix. PyYAML reads about 100 kB a second."""
JSON_BYTES = 1 << 28
FILE_BYTES = 1 << 32
"""Of a file that is read line by line."""
LINE_BYTES, LINES = 1 << 24, 1 << 24
LEVELS = 64
"""Depth of lists and mappings in one another."""

_CHUNK = 1 << 18
_XZ_RATIO, _XZ_SLACK = 200, 1 << 24
"""Packed games shrink to a fiftieth; xz can shrink zeros to a seven-thousandth."""
_XZ_MEMORY = 1 << 28
"""For the dictionary, whose size the file chooses; the strongest preset needs a quarter."""


def read_bytes(path: Path, limit: int = JSON_BYTES) -> bytes:
    """The whole content of a regular file."""
    with _opened(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return content


def read_text(path: Path, limit: int = JSON_BYTES) -> str:
    """The same as UTF-8."""
    return read_bytes(path, limit).decode("utf-8")


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines with their ends, unpacked as they are asked for where the name ends in `.xz`."""
    with _opened(path) as file:
        pieces, most = iter(partial(file.read, _CHUNK), b""), FILE_BYTES
        if path.suffix == ".xz":
            pieces, most = _unpacked(file), _XZ_SLACK + _XZ_RATIO * os.fstat(file.fileno()).st_size
        total, count, rest = 0, 0, b""
        for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            total, count = total + len(piece), count + len(lines)
            if total > most or count > LINES:
                raise ValueError(f"it holds more than {most:,} bytes or {LINES:,} lines")
            yield from (line + b"\n" for line in lines)
            if len(rest) > LINE_BYTES:
                raise ValueError(f"a line is longer than {LINE_BYTES:,} bytes")
        if rest:
            yield rest


def inside(folder: Path, path: Path) -> bool:
    """Whether it is a regular file of the folder, and no link that leads out of it."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return parse_json(read_bytes(path))


def parse_json(text: str | bytes) -> Any:
    """`json.loads` of text from outside."""
    try:
        return _shallow(json.loads(text))
    except RecursionError:
        raise ValueError(_too_deep()) from None


def encodable(value: Any) -> Any:
    """The value, if its texts can be written again: half a surrogate pair cannot."""
    json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_yaml(text: str) -> Any:
    """YAML of text from outside: `None`, truth values, numbers, texts, lists, and mappings with texts as keys."""
    try:
        return encodable(_shallow(yaml.load(text, _Loader)))
    except RecursionError:
        raise ValueError(_too_deep()) from None
    except Exception as error:  # PyYAML's constructors raise whatever a value makes them stumble over
        raise ValueError(" ".join(str(error).split()) or "it is no YAML") from error


class _Loader(yaml.SafeLoader):
    level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few of them multiply to billions of values
            raise ValueError(f"line {self.line + 1} has an alias (*name); write the value out")
        self.level += 1
        if self.level > LEVELS:  # the deeper, the slower it scans
            raise ValueError(_too_deep())
        node: yaml.Node | None = super().compose_node(parent, index)
        self.level -= 1
        return node


def _shallow(value: Any, levels: int = LEVELS) -> Any:
    """The value, if it is plain and not too deep."""
    if isinstance(value, dict | list):
        if not levels:
            raise ValueError(_too_deep())
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"the key {reprlib.repr(key)} is no text; quote it")
        for part in value.values() if isinstance(value, dict) else value:
            if not isinstance(part, str):
                _shallow(part, levels - 1)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{reprlib.repr(value)} is no plain value; quote it")
    return value


def _too_deep() -> str:
    return f"it is nested deeper than {LEVELS} levels"


def _opened(path: Path) -> IO[bytes]:
    """A regular file; opening a pipe would wait, and a device has no end."""
    if not stat.S_ISREG(os.stat(path).st_mode) and not path.is_dir():
        raise ValueError("it is no regular file")
    return path.open("rb")


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Pieces of the content of an xz file of any number of streams."""
    packed, streams = file.read(_CHUNK), 0
    try:
        while packed or not streams:
            decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            streams += 1
            while not decoder.eof:
                yield decoder.decompress(packed, _CHUNK)
                packed = b""
                if decoder.needs_input and not decoder.eof:
                    packed = file.read(_CHUNK)
                    if not packed:
                        raise OSError("it ends too early")
            packed = decoder.unused_data.lstrip(b"\0") or file.read(_CHUNK).lstrip(b"\0")
    except lzma.LZMAError as error:
        raise OSError(f"it cannot be unpacked: {error}") from error
