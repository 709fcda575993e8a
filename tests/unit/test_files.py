"""What is read from outside is plain, and small in everything."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import pytest

from himac import files
from himac.files import encodable, parse_json, parse_yaml, read_bytes, read_lines, read_text


def test_lines_with_their_ends(tmp_path: Path) -> None:
    for name, pack in (("a.txt", bytes), ("a.xz", lzma.compress)):
        for content in (b"", b"a", b"a\n\nb\r\n", b"a\nb"):
            (tmp_path / name).write_bytes(pack(content))
            assert list(read_lines(tmp_path / name)) == content.splitlines(keepends=True)


def test_streams_and_padding(tmp_path: Path) -> None:
    """An xz file may be several, with zeros between them."""
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(b"a\n") + bytes(8) + lzma.compress(b"b\n") + bytes(4))
    assert list(read_lines(path)) == [b"a\n", b"b\n"]
    path.write_bytes(lzma.compress(b"a\n" * 100)[:-20])
    with pytest.raises(OSError, match="ends too early"):
        list(read_lines(path))
    path.write_bytes(b"no xz at all")
    with pytest.raises(OSError, match="cannot be unpacked"):
        list(read_lines(path))


def test_what_unpacks_to_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_XZ_SLACK", 1000)
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(b"0123456789abcde\n" * 100))  # 1600 bytes in less than 100
    assert len(list(read_lines(path))) == 100
    path.write_bytes(lzma.compress(bytes(1_000_000)))  # a thousandth: 1000 and 200 times its size is less
    with pytest.raises(ValueError, match="holds more than"):
        list(read_lines(path))


def test_lines_that_are_too_long_or_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    monkeypatch.setattr(files, "LINE_BYTES", 10)
    path.write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        list(read_lines(path))
    monkeypatch.setattr(files, "LINES", 3)
    path.write_bytes(b"\n" * 4)
    with pytest.raises(ValueError, match="3 lines"):
        list(read_lines(path))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="no regular file"):
            read_bytes(path)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(OSError):  # noqa: PT011 - the system's own words
            read_bytes(path)


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ü" * 5)
    assert read_text(tmp_path / "a", 10) == "üüüüü"
    with pytest.raises(ValueError, match="larger than 9 bytes"):
        read_text(tmp_path / "a", 9)


@pytest.mark.parametrize("depth", [65, 5_000, 200_000])
def test_depth(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(ValueError, match="nested deeper than 64"):
            parse_json(text)
        if depth < 200_000:
            with pytest.raises(ValueError, match="nested deeper than 64"):
                parse_yaml(text)


def test_json() -> None:
    assert parse_json('{"a": [1, null, true, 0.5, "x"]}') == {"a": [1, None, True, 0.5, "x"]}
    assert parse_json("[" * 64 + "]" * 64)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encodable(parse_json('{"a": "\\ud800"}'))


def test_yaml() -> None:
    assert parse_yaml("a: [1, ~, yes, 0.5, x]\nb: {}") == {"a": [1, None, True, 0.5, "x"], "b": {}}
    for text, words in (
        ("a: &a [1]\nb: *a", "line 2 has an alias"),
        ("a: &a {b: *a}", "line 1 has an alias"),
        ("a: &a {b: 1}\nc: {<<: *a}", "line 2 has an alias"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 2024-01-01", "no plain value; quote it"),
        ("yes: 1", "the key True is no text; quote it"),
        ("!!int ''", "."),
        ("!!timestamp x", "."),
        ('a: "\\ud800"', "surrogates not allowed"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_yaml(text)
