"""Episodes for a page: the list, the packed chunks, and what must not get into them."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import fromarray

from himac.errors import DataError
from himac.report.runs import read_runs
from himac.report.trajectories import Trajectories, trajectories
from support.run_folders import make_run, recorded, told, write_lines


def unpacked(made: Trajectories) -> list[Any]:
    return [episode for chunk in made.chunks for episode in json.loads(gzip.decompress(base64.b64decode(chunk)))]


def of(folder: Path, **options: Any) -> Trajectories:
    return trajectories(read_runs([folder]), **options)


def test_the_list_and_what_it_points_to(tmp_path: Path) -> None:
    made = of(make_run(tmp_path / "run"))
    labels = [(source["label"], source["split"], source["iteration"], source["training"]) for source in made.sources]
    assert labels == [
        ("evaluation", "valid", 0, False),
        ("training, macro", "train", 1, True),
        ("evaluation", "valid", 2, False),
    ]
    index, words = made.episodes, made.episodes["words"]
    assert index["source"] == [0, 0, 1, 1, 2, 2]
    assert [words["task"][n] for n in index["task"]] == ["a", "b", "train-a1/0", "train-a1/0", "a", "b"]
    assert [words["group"][n] for n in index["group"]] == ["", "", "a1/0", "a1/0", "", ""]
    assert index["success"] == [0, 0, 0, 0, 1, 0]
    assert index["goals"] == [2, 2, 2, 2, 3, 2]
    assert index["plan"] == [0, 0, 0, 0, 1, 0]
    episodes = unpacked(made)
    places = [index["chunk"][n] * 40 + index["place"][n] for n in range(6)]
    assert places == list(range(6))
    # Action, observation, reward, closed, rejected.
    assert episodes[0]["parts"][0] == ["take mug", [["take mug a", "You see it.", -0.5, True, False]]]
    assert episodes[2]["contexts"][0]["pieces"][1] == [" take", -0.25, 0.5]
    assert "contexts" not in episodes[0]


def test_figures_of_blueprints_and_contexts(tmp_path: Path) -> None:
    made = of(make_run(tmp_path / "run"))
    first, last = made.blueprints
    assert (first["goals"], first["checking"], first["distinct"], first["changed"]) == (2.0, 0.0, 0.5, 0.0)
    # After training one of the two blueprints has a third sub-goal, which checks.
    assert (last["goals"], last["checking"], last["distinct"], last["changed"]) == (2.5, 0.5, 1.0, 0.5)
    assert last["verbs"] == {"take": 1.0, "put": 1.0, "check": 0.5}
    assert made.contexts == [
        {"run": 0, "role": "planner", "limit": None, "count": 2, "median": 4.0, "high": 4.0, "most": 4}
    ]


def test_chunks_are_small(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_lines(folder / "episodes.jsonl", [recorded(1, f"a1/{n}", 0) for n in range(100)])
    made = of(folder)
    # 2 evaluated, 100 recorded, 2 evaluated, 40 a chunk.
    assert [len(json.loads(gzip.decompress(base64.b64decode(chunk)))) for chunk in made.chunks] == [40, 40, 24]
    assert (made.episodes["chunk"][41], made.episodes["place"][41]) == (1, 1)


def test_more_episodes_than_a_page_holds(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_lines(folder / "episodes.jsonl", [recorded(1, f"a1/{n}", 0) for n in range(100)])
    made = of(folder, most=10)
    # Sources of 2, 100 and 2: at most 6 of each make 10.
    assert [made.episodes["source"].count(n) for n in range(3)] == [2, 6, 2]
    assert made.left_out == 94
    assert [source["count"] for source in made.sources] == [2, 100, 2]


def test_figures_are_of_all_episodes_and_those_shown_of_all_parts(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    lines = [told(f"t{n:02d}") | {"kind": "ab"[n >= 60], "success": n % 3 == 0} for n in range(80)]
    write_lines(folder / "eval" / "iteration-000002" / "results.jsonl", lines)
    made = of(folder, most=20)
    # 0, 3, .. 57 of the first 60 and 60, 63, .. 78 of the others are solved.
    found = [
        (one["kind"], one["count"], one["solved"], sum(n for _, n in one["reasons"]))
        for one in made.sources[-1]["kinds"]
    ]
    assert found == [("a", 60, 20, 40), ("b", 20, 7, 13)]
    shown = [made.episodes["words"]["kind"][kind] for kind in made.episodes["kind"]]
    assert shown.count("a") in (12, 13, 14)
    assert shown.count("b") in (4, 5)


def test_hostile_text_is_inert_and_bounded(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    hostile = "\x1b[2J\u202etxt.exe\ud800" + "x" * 1_000_000
    write_lines(folder / "eval" / "iteration-000002" / "results.jsonl", [told("a\u202e", observation=hostile)])
    made = of(folder)
    observation = unpacked(made)[-1]["parts"][0][1][0][1]
    assert observation.startswith("\\x1b[2J\\u202etxt.exe\\ud800xxx")
    assert observation.endswith(
        "x … (980,013 more characters in the run's files)"
    )  # 1,000,013 of which 20,000 are kept
    assert made.episodes["words"]["task"][-1] == "a\\u202e"


def test_nothing_outside_the_run_is_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_lines(tmp_path / "secret.jsonl", [told("secret")])
    linked = folder / "eval" / "iteration-000009" / "results.jsonl"
    linked.parent.mkdir()
    linked.symlink_to(tmp_path / "secret.jsonl")
    assert "secret" not in of(folder).episodes["words"]["task"]


def test_pictures_that_are_named_and_there(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    here, gone, fake = "a" * 64, "b" * 64, "c" * 64
    seen = "".join(f"[picture {key}]" for key in (here, gone, fake))
    place = folder / "eval" / "iteration-000002"
    write_lines(place / "results.jsonl", [told("a", observation=seen)])
    (place / "pictures").mkdir()
    fromarray(np.zeros((2, 2, 3), np.uint8)).save(place / "pictures" / f"{here}.png")
    (place / "pictures" / f"{fake}.png").write_text("<svg onload=alert(1)>")
    assert list(of(folder).pictures) == [here]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_lines(folder / "episodes.jsonl", [recorded(1, "a1/0", 0, contexts=[{"role": "planner"}])])
    with pytest.raises(DataError, match=r"line 1 of .*episodes\.jsonl"):
        of(folder)
