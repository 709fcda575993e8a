"""`himac play --replay`: a recorded episode in the terminal, without a model."""

from __future__ import annotations

from pathlib import Path

from himac.cli.play import Screen, pick
from himac.errors import DataError
from himac.evaluation.plan import RESULTS
from himac.evaluation.records import episode_of
from himac.report.results import TOLD, read_jsonl
from himac.types import Task, Turn


def replay(path: Path, task_id: str | None, screen: Screen) -> None:
    """Show an episode of a file of results, of an evaluation's folder, or of a run's newest evaluation.

    Raises:
        DataError: there are no recorded episodes, or the file is damaged.
        ConfigError: there is no such task in it.
    """
    file = _results(path)
    lines = read_jsonl(file, TOLD)
    tasks = [Task(line["task_id"], line["kind"]) for line in lines]
    task = pick(tasks, task_id)
    line = lines[tasks.index(task)]
    episode = episode_of(line, task)
    screen.task(task)
    if episode.blueprint is not None:
        screen.planned(episode.blueprint)
    subgoal = None
    for told in line.get("transcript") or ():
        if told.get("subgoal") and (told["subgoal"] != subgoal):
            subgoal = told["subgoal"]
            screen.subgoal(subgoal)
        invalid = told.get("invalid", False)
        screen.turn(Turn(told["action"], told["observation"], 0.0, invalid, told["sub_done"], 0, 0))
        subgoal = None if told["sub_done"] else subgoal
    screen.end(episode)


def _results(path: Path) -> Path:
    if path.is_file():
        return path
    found = [file for file in (path / RESULTS, *path.glob(f"eval/*/{RESULTS}")) if file.is_file()]
    if not found:
        raise DataError(f"{path} holds no recorded episodes (no {RESULTS}); give a run or the folder of an evaluation")
    return max(found, key=lambda file: file.stat().st_mtime)
