"""Recorded training episodes: which tokens are kept how, and which groups are kept at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import open as open_picture

from himac.rollout.rows import planner_rows, segment_row
from himac.scene import Image, Scene
from himac.training.recording import EpisodeLog
from himac.types import Blueprint, Episode, Group, Role, Row, Segment, StopReason, Task, Turn

WORDS = ["do", " it", "<a>", "go", "</a>", " ok"]


class Words:
    """A tokenizer of six words."""

    def decode(self, ids: list[int], **options: Any) -> str:
        return "".join(WORDS[n] for n in ids)


def segment(role: Role, sampled: str) -> Segment:
    """Context of the tokens 0, 1, 2, ... whose mask is spelled as s (sampled) and . (given)."""
    mask = np.array([letter == "s" for letter in sampled])
    logprobs = np.where(mask, -np.arange(len(mask)) / 8, 0.0).astype(np.float32)
    return Segment(
        role, np.arange(len(mask), dtype=np.int32), mask, logprobs, (Turn("go", "ok", 0.5, False, True, 2, 5),)
    )


def group(name: str = "a0/0") -> Group:
    task, plan = Task("t", "pick"), Blueprint(("go",))
    planned, executed = segment(Role.PLANNER, "..ss"), segment(Role.EXECUTOR, "..ss.s")
    episodes = tuple(
        Episode(task, 0, plan, replace(planned), (replace(executed),), ret, StopReason.FAILURE, 1) for ret in (1.0, 0.0)
    )
    return Group(name, task, episodes)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


def test_tokens_with_probability_and_advantage(tmp_path: Path) -> None:
    kept = group()
    # The executor of the first episode is not trained; the forced closing tag (token 4) never is.
    rows = [*planner_rows(kept, [0.5, -0.5]), segment_row(kept.episodes[1].segments[0], -0.25, kept.id)]
    assert EpisodeLog(tmp_path, 1.0, 0, Words()).add(3, "macro", [kept], rows) == 2
    first, second = lines(tmp_path)
    assert (first["iteration"], first["phase"], first["group"], first["member"]) == (3, "macro", "a0/0", 0)
    assert (first["return"], first["transcript"][0]["reward"], second["member"]) == (1.0, 0.5, 1)
    plan, execution = first["contexts"]
    assert (plan["role"], plan["tokens"]) == ("planner", 4)
    # 0 1 | 2 3: two given tokens, then two sampled ones at -2/8 and -3/8.
    assert plan["pieces"] == [["do it", 2], ["<a>", -0.25, 0.5], ["go", -0.375, 0.5]]
    assert execution["pieces"] == [
        ["do it", 2],
        ["<a>", -0.25, None],
        ["go", -0.375, None],
        ["</a>", 1],
        [" ok", -0.625, None],
    ]
    assert [piece[2] for piece in second["contexts"][1]["pieces"] if len(piece) == 3] == [-0.25] * 3


def test_a_row_of_another_group_does_not_speak_for_this_one(tmp_path: Path) -> None:
    kept = group()
    rows: list[Row] = planner_rows(Group("b0/0", kept.task, kept.episodes), [0.5, -0.5])
    EpisodeLog(tmp_path, 1.0, 0, Words()).add(0, "micro", [kept], rows)
    assert {piece[2] for piece in lines(tmp_path)[0]["contexts"][0]["pieces"] if len(piece) == 3} == {None}


def test_the_seed_decides_which_groups_are_kept(tmp_path: Path) -> None:
    groups = [group(f"a0/{number}") for number in range(40)]
    names = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        EpisodeLog(folder, 0.25, seed, Words()).add(0, "macro", groups, [])
        names.append([line["group"] for line in lines(folder)])
    assert names[0] == names[1] != names[2]
    assert 4 <= len(set(names[0])) <= 18  # of 40 at 0.25; outside with probability below 0.01 for another seed


def test_what_the_agent_saw_is_kept_too(tmp_path: Path) -> None:
    picture = Image(np.full((2, 3, 3), 7, np.uint8))
    seen = Turn("go", Scene(("A board:", picture)), 0.0, False, False, 2, 3)
    kept = group()
    episodes = tuple(replace(e, segments=(replace(e.segments[0], turns=(seen,)),)) for e in kept.episodes)
    EpisodeLog(tmp_path, 1.0, 0, Words()).add(0, "macro", [replace(kept, episodes=episodes)], [])
    assert lines(tmp_path)[0]["transcript"][0]["observation"] == f"A board:\n[picture {picture.key}]"
    with open_picture(tmp_path / "pictures" / f"{picture.key}.png") as shown:
        assert (shown.size, shown.getpixel((0, 0))) == ((3, 2), (7, 7, 7))


def test_none_are_kept_at_rate_0(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, 0.0, 0, Words())
    assert log.add(0, "macro", [group()], []) == 0
    assert log.resume(0) == 0
    assert list(tmp_path.iterdir()) == []


def test_lines_behind_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path, 1.0, 0, Words())
    log.add(0, "macro", [group(), group("a0/1")], [])
    assert EpisodeLog(tmp_path, 1.0, 0, Words()).resume(2) == 2
    assert [line["group"] for line in lines(tmp_path)] == ["a0/0", "a0/0"]
    assert EpisodeLog(tmp_path, 1.0, 0, Words()).resume(9) == 2  # the file was cut by somebody
