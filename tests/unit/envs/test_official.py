"""What `check_data` of each benchmark says of whole, partial, changed and broken folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from himac.envs.alfworld import official as alfworld
from himac.envs.alfworld.benchmark import BUILTIN_DIR, AlfworldBenchmark
from himac.envs.official import PLACES, Known, Part, official_data
from himac.envs.sokoban import official as sokoban
from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.envs.webshop import official as webshop
from himac.envs.webshop.benchmark import FILES, HUMAN
from himac.envs.webshop.generator import records

BOARD = "######\n#@   #\n# $. #\n#    #\n######\n"


def states(parts: list[Part]) -> dict[str, str]:
    return {part.name: part.state for part in parts}


def test_every_benchmark_has_its_place() -> None:
    variables = {official_data(name).variable for name in PLACES}
    assert variables == {"ALFWORLD_DATA", "BOXOBAN_DATA", "WEBSHOP_DATA"}
    for name in PLACES:
        (*_, last) = official_data(name).check_data(Path("/no/such/folder"))
        assert last.state == "missing"


# ALFWorld


@pytest.fixture
def games(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Built-in games in the place of the official ones."""
    for split in ("train", "valid_seen", "valid_unseen"):
        shutil.copy(BUILTIN_DIR / "valid-small.jsonl.xz", tmp_path / f"{split}.jsonl.xz")
    whole = AlfworldBenchmark("builtin:small").split_hash("valid")
    monkeypatch.setattr(
        alfworld,
        "KNOWN",
        {
            "train": Known(200, whole),
            "valid_seen": Known(200, whole),
            "valid_unseen": Known(200),
            "valid_train": Known(200, whole, needed=False),
        },
    )
    return tmp_path


def test_complete_games(games: Path) -> None:
    parts = list(alfworld.check_data(games))
    assert states(parts) == {"train": "ok", "valid_seen": "ok", "valid_unseen": "ok", "valid_train": "missing"}
    assert not any(part.failed for part in parts)
    assert "not known" in parts[2].detail
    assert "not known" not in parts[0].detail


@pytest.mark.parametrize(
    ("harm", "state", "text"),
    [
        (lambda file: file.unlink(), "missing", "200 games"),
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "broken", "cannot be read"),
        (lambda file: file.write_bytes(b"no archive"), "broken", "cannot be read"),
        (lambda file: shutil.copy(BUILTIN_DIR / "valid-large.jsonl.xz", file), "changed", "official hash"),
        (lambda file: shutil.copy(BUILTIN_DIR / "train-small.jsonl.xz", file), "changed", "official number is 200"),
    ],
)
def test_harmed_games(harm: Callable[[Path], object], state: str, text: str, games: Path) -> None:
    harm(games / "train.jsonl.xz")
    part = next(part for part in alfworld.check_data(games) if part.name == "train")
    assert (part.state, part.failed) == (state, True)
    assert text in part.detail


def test_a_broken_game_file_is_named(tmp_path: Path) -> None:
    game = tmp_path / "json_2.1.1" / "train" / "pick_and_place_simple-A-None-B-1" / "trial_1" / "game.tw-pddl"
    game.parent.mkdir(parents=True)
    game.write_text('{"pddl_domain": ', encoding="utf-8")
    part = next(iter(alfworld.check_data(tmp_path)))
    assert part.state == "broken"
    assert str(game) in part.detail


def test_the_official_games(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(alfworld.KNOWN, "train")  # takes seconds
    assert states(list(alfworld.check_data(shared_dir / "data" / "alfworld"))) == {
        "valid_seen": "ok",
        "valid_train": "ok",
        "valid_unseen": "missing",
    }


# WebShop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first 120 products of the generated catalogue in the official files."""
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    made = records()[:120]
    (folder / FILES[0][0]).write_text(json.dumps([record for record, _ in made]), encoding="utf-8")
    (folder / FILES[0][1]).write_text(json.dumps({r["asin"]: known for r, known in made}), encoding="utf-8")
    return folder


def test_other_products_are_not_the_official_ones(shop: Path) -> None:
    parts = list(webshop.check_data(shop))
    assert states(parts) == {"products": "changed", "synthetic goals, test": "changed", HUMAN: "missing"}
    assert "the official number is 1000" in parts[0].detail
    assert [part.failed for part in parts] == [True, True, False]


def test_all_products_are_counted(shop: Path) -> None:
    for old, new in zip(*FILES, strict=True):
        (shop / old).rename(shop / new)
    parts = list(webshop.check_data(shop))
    assert states(parts) == {"products": "ok", "synthetic goals, test": "ok", HUMAN: "missing"}
    assert "120 products" in parts[0].detail
    assert not any(part.failed for part in parts)


def test_half_of_the_files(shop: Path) -> None:
    (shop / FILES[0][0]).rename(shop / FILES[1][0])
    (shop / FILES[0][1]).unlink()
    assert states(list(webshop.check_data(shop))) == {FILES[1][0]: "ok", FILES[1][1]: "missing", HUMAN: "missing"}


@pytest.mark.parametrize("name", [*FILES[0], HUMAN])
@pytest.mark.parametrize("text", ['[{"asin": "a", ', "7", "", "[[1]]"])
def test_broken_shop_files(name: str, text: str, shop: Path) -> None:
    (shop / name).write_text(text, encoding="utf-8")
    part = next(iter(webshop.check_data(shop)))
    assert (part.name, part.state) == ("products", "broken")
    assert name in part.detail


def test_human_goals_for_no_product_here(shop: Path) -> None:
    (shop / HUMAN).write_text("{}", encoding="utf-8")
    assert states(list(webshop.check_data(shop)))["human goals"] == "broken"


def test_the_official_products(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path))
    parts = list(webshop.check_data(shared_dir / "data" / "webshop"))
    assert states(parts) == {"products": "ok", **dict.fromkeys(webshop.KNOWN, "ok")}


# Sokoban


@pytest.fixture
def levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three small sets in the folders of Boxoban."""
    for folder, files in {"medium/train": 2, "medium/valid": 1, "hard": 1}.items():
        for number in range(files):
            file = tmp_path / folder / f"{number:03d}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"; 0\n{BOARD}\n; 1\n{BOARD}", encoding="utf-8")
    monkeypatch.setattr(
        sokoban,
        "KNOWN",
        {"medium": {"train": Known(4), "valid": Known(2)}, "unfiltered": {"train": Known(9)}, "hard": {"": Known(2)}},
    )
    monkeypatch.setattr(sokoban, "FIRST_FILES", {})
    return tmp_path


def test_complete_levels(levels: Path) -> None:
    parts = list(sokoban.check_data(levels))
    assert states(parts) == {"medium/train": "ok", "medium/valid": "ok", "unfiltered": "missing", "hard": "ok"}
    assert not any(part.failed for part in parts)
    # The hash is that of the benchmark, whose results name it.
    assert SokobanBenchmark(str(levels / "medium")).split_hash("train")[:12] in parts[0].detail


def test_harmed_levels(levels: Path) -> None:
    shutil.rmtree(levels / "medium" / "valid")
    (levels / "medium" / "train" / "001.txt").unlink()
    (levels / "hard" / "000.txt").write_text("; 0\n###\n#@$\n", encoding="utf-8")
    parts = list(sokoban.check_data(levels))
    assert [part.state for part in parts] == ["changed", "missing", "missing", "broken"]
    assert [part.failed for part in parts] == [True, True, False, True]
    (levels / "hard" / "000.txt").unlink()
    assert list(sokoban.check_data(levels))[-1].state == "broken"


def test_another_first_file(levels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sokoban, "FIRST_FILES", {"medium/train": "0" * 64})
    part = next(iter(sokoban.check_data(levels)))
    assert part.state == "changed"
    assert "first file" in part.detail


def test_without_any_set_the_levels_are_missing(tmp_path: Path) -> None:
    assert all(part.failed and part.state == "missing" for part in sokoban.check_data(tmp_path))


def test_the_first_files_are_the_official_ones(shared_dir: Path) -> None:
    parts = {part.name: part for part in sokoban.check_data(shared_dir / "data" / "boxoban")}
    for name in sokoban.FIRST_FILES:
        assert "first file" not in parts[name].detail
        assert sokoban.FIRST_FILES[name][:12] in parts[name].detail
