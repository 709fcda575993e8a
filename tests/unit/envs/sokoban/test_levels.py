from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from himac.envs.sokoban.generator import generate_levels
from himac.envs.sokoban.levels import load_levels, parse_levels, write_levels
from himac.errors import DataError

TWO = """; 0
#####
#@$.#
#####

; 1
######
#@ $.#
######
"""


PACKED_LEVEL = b'{"id": "a", "rows": ["#####", "#@$.#", "#####"], "moves": 1, "pushes": 1}\n'


def test_official_boxoban_file(shared_dir: Path) -> None:
    levels = load_levels(shared_dir / "data" / "boxoban" / "medium")
    assert len(levels) == 2000
    assert (levels[0].id, levels[-1].id) == ("train/000-0000", "valid/000-0999")
    assert {(level.height, level.width, level.boxes) for level in levels} == {(10, 10, 4)}
    assert levels[-1].kind == "4box-10x10"


def test_text_levels_are_numbered() -> None:
    levels = parse_levels(TWO, "two")
    assert [level.id for level in levels] == ["two-0000", "two-0001"]
    assert levels[1].rows == ("######", "#@ $.#", "######")
    assert parse_levels("\n; nothing\n\n") == []


def test_folders_name_their_levels(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(TWO)
    (tmp_path / "note.md").write_text("no level")
    ids = [level.id for level in load_levels(tmp_path, "p/")]
    assert ids == ["p/a/x-0000", "p/a/x-0001", "p/b/x-0000", "p/b/x-0001"]


def test_packed_round_trip_with_equal_bytes(tmp_path: Path) -> None:
    levels = generate_levels(5, seed=3)
    for name in ("one", "two"):
        write_levels(tmp_path / name / "set.jsonl.xz", levels)
    assert load_levels(tmp_path / "one" / "set.jsonl.xz") == levels
    assert (tmp_path / "one" / "set.jsonl.xz").read_bytes() == (tmp_path / "two" / "set.jsonl.xz").read_bytes()
    with pytest.raises(DataError, match="a second time"):
        load_levels(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, "cannot be read"),
        ("empty.txt", b"", "holds no Sokoban level"),
        ("open.txt", b"###\n#@$.\n###\n", "open at its border"),
        ("latin.txt", b"\xff\xfe", "cannot be read"),
        ("raw.jsonl.xz", b"not xz", "copy it again"),
        ("cut.jsonl.xz", lzma.compress(PACKED_LEVEL)[:-8], "copy it again"),
        ("json.jsonl.xz", lzma.compress(b"[1, 2]\n"), "line 1 is not a packed level"),
        (
            "text.jsonl.xz",
            lzma.compress(b'{"id": "a", "rows": ["#"], "moves": "3", "pushes": 1}\n'),
            "moves: Input should",
        ),
        ("half.jsonl.xz", lzma.compress(b'{"id": "\\ud800", "rows": [], "moves": 3, "pushes": 1}\n'), "surrogates"),
        ("deep.jsonl.xz", lzma.compress(b"[" * 100_000), "nested deeper"),
        ("wide.txt", b"#" * 1000 + b"\n#\n#\n", "no side may pass 200"),
        ("keys.jsonl.xz", lzma.compress(b'{"id": "a"}\n'), "line 1 is not a packed level"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_levels(tmp_path / name)
