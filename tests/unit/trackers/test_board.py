"""Trackers hear everything, and none of them can stop a run: not by failing, ending, hanging or not being there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from himac.errors import ConfigError, MissingDependencyError
from himac.trackers import apart
from himac.trackers.board import Board, check_trackers
from himac.trackers.tensorboard import TensorBoard
from support.run_folders import metric, told, write_lines

TRACKERS = """
import json, os, time

class Keeps:
    def __init__(self, about):
        self.file = open(os.path.join(about.folder, "kept.jsonl"), "a")
        self.write(["about", about.name, dict(about.config)])
    def write(self, line):
        self.file.write(json.dumps(line) + "\\n")
        self.file.flush()
    def log(self, values, step):
        self.write(["log", dict(values), step])
    def episodes(self, text, step):
        self.write(["episodes", text, step])
    def close(self):
        self.write(["close"])

class Fails(Keeps):
    def __init__(self, about):
        raise OSError("no route to host")

class Ends(Keeps):
    def log(self, values, step):
        os._exit(3)

class Hangs(Keeps):
    def log(self, values, step):
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings trackers, for this process and those of the trackers."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "others.py").write_text(TRACKERS)
    information = folder / "others-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    names = "\n".join(f"{name.lower()} = others:{name}" for name in ("Keeps", "Fails", "Ends", "Hangs"))
    (information / "entry_points.txt").write_text(f"[himac.trackers]\n{names}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def board(names: list[str], run: Path, warn: Callable[[str], object]) -> Board:
    run.mkdir(exist_ok=True)
    return Board(names, run, {"seed": 1}, None, warn)


def kept(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "kept.jsonl").read_text().splitlines()]


def test_everything_is_told(tmp_path: Path) -> None:
    run, said = tmp_path / "run", list[str]()
    told_to = board(["keeps"], run, said.append)
    told_to.add(metric("eval", 0, "eval", 0, 0.25))
    write_lines(run / "eval" / "iteration-000000" / "results.jsonl", [told("a-task")])
    told_to.add(metric("train", 0, "macro", 100, 0.5))
    told_to.close()
    about, first, example, second, end = kept(run)
    assert about == ["about", "run", {"seed": 1}]
    assert first == ["log", {"eval/success": 0.25}, 0]
    assert (example[0], "### `a-task`" in example[1], example[2]) == ("episodes", True, 0)
    assert second == ["log", {"macro/success": 0.5}, 100]
    assert end == ["close"]
    assert said == []


@pytest.mark.parametrize(
    ("name", "reason"), [("fails", "ended with code 1 (OSError: no route to host)"), ("ends", "ended with code 3")]
)
def test_one_that_fails_is_given_up_and_the_others_go_on(name: str, reason: str, tmp_path: Path) -> None:
    run, said = tmp_path / "run", list[str]()
    told_to = board([name, "keeps"], run, said.append)
    end = time.monotonic() + 30
    step = 0
    while not said and time.monotonic() < end:
        told_to.add(metric("train", 0, "macro", step := step + 1, 0.5))
        time.sleep(0.02)
    told_to.close()
    assert len(said) == 1
    assert f"tracker '{name}' is given up: it {reason}" in said[0]
    assert kept(run)[-1] == ["close"]


def test_one_that_hangs_does_not_hold_up_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_WAITING", 50)
    run, said = tmp_path / "run", list[str]()
    told_to = board(["hangs"], run, said.append)
    more = {f"figure-{n}": 0.5 for n in range(1000)}  # the pipe is full soon
    slowest = 0.0
    for step in range(200):
        started = time.monotonic()
        told_to.add(metric("train", 0, "macro", step, 0.5, **more))
        slowest = max(slowest, time.monotonic() - started)
    told_to.close()
    assert slowest < 5
    assert len(said) == 1
    assert "tracker 'hangs' is given up: it takes nothing any more" in said[0]


def test_the_end_of_the_run_does_not_wait_for_ever(tmp_path: Path) -> None:
    about = apart.About("run", "key", str(tmp_path), {})
    tracker = apart.Apart("hangs", about, tmp_path / "hangs.log", last_s=0.5)
    tracker.send({"values": {}, "step": 1})
    assert "did not end within" in (tracker.close() or "")


def test_names_and_packages_are_checked_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers(["tensorboard", "keeps"])
    with pytest.raises(ConfigError, match="unknown tracker 'wanbd'; did you mean 'wandb'"):
        check_trackers(["wanbd"])
    monkeypatch.setattr("himac.trackers.board.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'himac\[mlflow\]'"):
        check_trackers(["mlflow"])


def test_a_disk_that_refuses_the_files_of_tensorboard(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file is in the way")
    said = list[str]()
    told_to = board(["tensorboard"], tmp_path, said.append)
    told_to.add(metric("train", 0, "macro", 1, 0.5))
    told_to.add(metric("train", 1, "macro", 2, 0.5))
    told_to.close()
    assert len(said) == 1
    assert "nothing more is written for TensorBoard" in said[0]


def test_a_resumed_run_keeps_the_events_of_its_checkpoint(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resumed_at, steps in ((None, (10, 20, 30)), (20, (30, 40))):
        board = TensorBoard(tmp_path, resumed_at)
        for step in steps:
            board.add({"phase": "eval", "env_steps": step, "success": step / 100 + (resumed_at is not None)})
        board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=True)
    events.Reload()
    found = [(event.step, round(event.value, 2)) for event in events.Scalars("eval/success")]
    assert found == [(10, 0.1), (20, 0.2), (30, 1.3), (40, 1.4)]
