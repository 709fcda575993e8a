"""Finding, loading and refusing game files."""

import json
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from himac.envs.alfworld import AlfworldEnv, Game, load_games
from himac.errors import DataError
from support.alfworld_problems import problem

PLACE = "pick_and_place_simple"


def record(path: str, **changes: Any) -> dict[str, Any]:
    return {"path": path, "task": "do it", "walkthrough": ["look"], "pddl_problem": problem(), **changes}


def pack(file: Path, records: Iterable[dict[str, Any]]) -> Path:
    with lzma.open(file, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(one) + "\n" for one in records)
    return file


def official(shared_dir: Path) -> Path:
    return shared_dir / "data" / "alfworld"


def wins(games: Iterable[Game]) -> list[str]:
    """Ids of the games whose walkthrough does not win on its last step."""
    failed = []
    for game in games:
        env = AlfworldEnv([game])
        env.reset(options={"game": 0})
        rewards = [env.step(command)[1] for command in game.walkthrough]
        if rewards != [0.0] * (len(rewards) - 1) + [1.0]:
            failed.append(game.id)
    return failed


def test_the_official_tree(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = official(shared_dir) / "json_2.1.1"
    games = load_games(tree, "valid_seen")
    assert len(games) == 12
    assert [game.id for game in games] == sorted(game.id for game in games)
    assert load_games(tree) == load_games(tree / "valid_seen") == load_games(tree / "valid_seen", "valid_seen") == games
    trial = tree / "valid_seen" / games[0].id
    assert load_games(trial) == load_games(trial / "game.tw-pddl") == games[:1]
    packed = {game.id: game for game in load_games(official(shared_dir), "valid_seen")}
    assert [packed[game.id] for game in games] == games
    monkeypatch.setenv("ALFWORLD_DATA", str(tree))
    assert load_games(split="valid_seen") == games
    assert wins(games) == []


@pytest.mark.parametrize("split", ["valid_seen", "valid_train"])
def test_packed_walkthroughs_win(shared_dir: Path, split: str) -> None:
    games = load_games(official(shared_dir) / f"{split}.jsonl.xz", split)
    assert len(games) == {"valid_seen": 140, "valid_train": 200}[split]
    assert len({game.task_type for game in games}) == 6
    assert wins(games[::4]) == []


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [("train", 3553), ("valid_seen", 140), ("valid_train", 200)])
def test_every_walkthrough_wins(shared_dir: Path, split: str, count: int) -> None:
    games = load_games(official(shared_dir), split)
    assert len(games) == count
    assert wins(games) == []


def test_packed_files(tmp_path: Path) -> None:
    pack(tmp_path / "train.jsonl.xz", [record(f"train/{PLACE}-B/t2"), record(f"train/{PLACE}-A/t1")])
    pack(tmp_path / "valid.jsonl.xz", [record("valid/home-made/t3", walkthrough=None)])
    (tmp_path / "notes.txt").write_text("not a game")
    assert [game.id for game in load_games(tmp_path, "train")] == [f"{PLACE}-A/t1", f"{PLACE}-B/t2"]
    assert [game.id for game in load_games(tmp_path / "valid.jsonl.xz")] == ["home-made/t3"]
    assert len(load_games(str(tmp_path))) == 3
    game = load_games(tmp_path, "valid")[0]
    assert (game.task_type, game.instruction, game.walkthrough) == (PLACE, "do it", ())


def test_a_plain_packed_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(record("a/b")) + "\n\n", encoding="utf-8")
    assert [game.id for game in load_games(file)] == ["a/b"]


def test_unsupported_and_unsolvable_games_are_left_out(tmp_path: Path) -> None:
    file = pack(
        tmp_path / "train.jsonl.xz",
        [
            record("train/pick_and_place_with_movable_recep-Fork-Pan-Shelf-1/t"),
            record(f"train/{PLACE}-AppleSliced-None-Shelf-1/t"),
            record(f"train/{PLACE}-Apple-None-Shelf-1/t", solvable=False),
            record(f"train/{PLACE}-Apple-None-Shelf-2/t"),
        ],
    )
    assert [game.id for game in load_games(file)] == [f"{PLACE}-Apple-None-Shelf-2/t"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pddl_problem": None}, "line 2.*must be texts"),
        ({"walkthrough": "look"}, "line 2.*list of commands"),
        ({"walkthrough": [1]}, "line 2.*list of commands"),
        ({"path": 7}, "line 2.*not a packed game"),
        ({"path": "x/y", "pddl_problem": "no goal"}, "line 2.*goal"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = pack(tmp_path / "train.jsonl.xz", [record(f"{PLACE}-1/a"), record(f"{PLACE}-1/b") | change])
    with pytest.raises(DataError, match=message):
        load_games(file)


@pytest.mark.parametrize(("line", "message"), [("{", "not a packed game"), ("[]", "not a packed"), ("{}", "no key")])
def test_lines_that_are_no_records_are_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(DataError, match=f"line 1.*{message}"):
        load_games(file)


def test_a_cut_off_file_is_reported(tmp_path: Path) -> None:
    file = pack(tmp_path / "train.jsonl.xz", [record(f"{PLACE}-{number}/a") for number in range(50)])
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train\.jsonl\.xz.*copy or pack it again"):
        load_games(file)
    file.write_bytes(b"not xz at all")
    with pytest.raises(DataError, match="cannot be read after line 0"):
        load_games(file)


def test_missing_places_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(DataError, match="ALFWORLD_DATA"):
        load_games()
    with pytest.raises(DataError, match="do not exist"):
        load_games(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no ALFWorld game was found"):
        load_games(tmp_path)
    (tmp_path / "valid_seen").mkdir()
    with pytest.raises(DataError, match="no ALFWorld split 'train'; the splits there are: valid_seen"):
        load_games(tmp_path, "train")
    file = pack(tmp_path / "train.jsonl.xz", [record(f"{PLACE}-1/a")])
    with pytest.raises(DataError, match="holds the split 'train', not 'test'"):
        load_games(file, "test")
    (tmp_path / "game.txt").write_text("")
    with pytest.raises(DataError, match="neither"):
        load_games(tmp_path / "game.txt")


def test_two_different_games_of_one_id_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "a.jsonl.xz", [record(f"a/{PLACE}-1/t")])
    pack(tmp_path / "b.jsonl.xz", [record(f"b/{PLACE}-1/t")])
    assert len(load_games(tmp_path)) == 1
    pack(tmp_path / "b.jsonl.xz", [record(f"b/{PLACE}-1/t", pddl_problem=problem(more=";"))])
    with pytest.raises(DataError, match="two different games"):
        load_games(tmp_path)


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("pddl_domain", "(isHot ?o)", "(isWarm ?o)", "PDDL domain"),
        ("grammar", "You arrive at", "You get to", "text grammar"),
        ("grammar", "Your task is to: ", "You must: ", "text grammar"),
        ("pddl_problem", None, None, "no key 'pddl_problem'"),
    ],
)
def test_another_domain_or_grammar_is_refused(
    shared_dir: Path, tmp_path: Path, key: str, old: str | None, new: str | None, message: str
) -> None:
    file = next((official(shared_dir) / "json_2.1.1").rglob("game.tw-pddl"))
    data = json.loads(file.read_text())
    if old is None:
        del data[key]
    else:
        assert old in data[key]
        data[key] = data[key].replace(old, new)
    copy = tmp_path / f"{PLACE}-1" / "trial" / "game.tw-pddl"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps(data))
    with pytest.raises(DataError, match=message):
        load_games(tmp_path)


def test_another_domain_beside_packed_games_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "train.jsonl.xz", [record(f"{PLACE}-1/a")])
    (tmp_path / "domain.pddl").write_text("(define (domain alfred))")
    with pytest.raises(DataError, match=r"domain\.pddl.*PDDL domain"):
        load_games(tmp_path, "train")


def test_a_bad_problem_is_reported_with_its_game() -> None:
    with pytest.raises(DataError, match=r"game a/b: .*domain 'alfred'"):
        AlfworldEnv([Game("a/b", PLACE, "x", "nonsense")]).reset()
