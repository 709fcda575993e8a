"""Lines of `results.jsonl` (a task each) and of `trials.jsonl` (a failed trial each): writing and reading them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from himac.agents.chat import ChatFormat
from himac.evaluation.trials import Spent, Trial
from himac.report.pictures import save_pictures
from himac.store.atomic import WriteGuard, write_text
from himac.types import Blueprint, Episode, Role, Segment, StopReason, Task, Turn

Record = dict[str, Any]
_NOTHING = Spent()


def record(episode: Episode, split_hash: str) -> Record:
    """One line of `results.jsonl`; a picture is its hash there."""
    first = next((context.pictures[0].picture for context in episode.contexts if context.pictures), None)
    return {
        "task_id": episode.task.id,
        "kind": episode.task.kind,
        "split_hash": split_hash,
        "success": episode.success,
        "return": episode.ret,
        **({} if episode.score is None else {"score": episode.score}),
        "stop": str(episode.stop),
        "env_steps": episode.env_steps,
        "blueprint": list(episode.blueprint.subgoals) if episode.blueprint else None,
        **({} if first is None else {"opening": repr(first)}),
        "transcript": [
            {
                "subgoal": segment.subgoal,
                "action": turn.action,
                "observation": str(turn.observation),
                "reward": turn.reward,
                "sub_done": turn.sub_done,
                "invalid": turn.invalid,
            }
            for segment in episode.segments
            for turn in segment.turns
        ],
    }


def write_results(path: Path, episodes: Sequence[Episode], split_hash: str) -> None:
    """Write `results.jsonl` whole or not at all, and the pictures of the episodes that a report shows."""
    lines = [record(episode, split_hash) for episode in episodes]
    write_records(path, lines)
    with WriteGuard(f"pictures beside {path}"):
        save_pictures(path.parent, episodes, lines)


def write_records(path: Path, lines: Sequence[Record]) -> None:
    """Write a file of one JSON object a line, whole or not at all."""
    with WriteGuard(f"results {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))


def result_record(
    done: Sequence[Trial],
    split_hash: str,
    repeat: int,
    chat: ChatFormat,
    *,
    lost: Spent = _NOTHING,
    kept: int = 0,
) -> Record:
    """The line of a task: its last trial, and what all trials took together.

    Args:
        lost: Spent on earlier runs of the task whose outcome is not in `done`.
        kept: Leading trials that a rerun finds in the file of trials.
    """
    last = done[-1].episode
    broken = last.stop is StopReason.ENGINE_ERROR
    spent = sum((trial.spent for trial in done), lost)
    line = _told(last, split_hash, chat) | {
        "repeat": repeat,
        "trials": len(done),
        "env_steps_all": sum(trial.episode.env_steps for trial in done),
        "reflections": [trial.reflection for trial in done if trial.reflection is not None],
        "usage": asdict(spent),
        "lost": asdict(sum((trial.spent for trial in done[kept:]), lost) if broken else _NOTHING),
    }
    return line | ({"error": last.error} if last.error is not None else {})


def trial_record(trial: Trial, split_hash: str, repeat: int, number: int, chat: ChatFormat) -> Record:
    """The line of a failed trial: all that a reflection and the next trial need."""
    return _told(trial.episode, split_hash, chat) | {
        "repeat": repeat,
        "trial": number,
        "instruction": trial.instruction,
        "opening": str(trial.opening),
        "reflection": trial.reflection,
        "usage": asdict(trial.spent),
    }


def _told(episode: Episode, split_hash: str, chat: ChatFormat) -> Record:
    """The record of an episode with the model's own words: `reply` in every turn, `plan` for a planner."""
    line = record(episode, split_hash)
    replies = [
        chat.decode_reply(segment.token_ids[turn.start : turn.end].tolist())
        for segment in episode.segments
        for turn in segment.turns
    ]
    for turn, reply in zip(line["transcript"], replies, strict=True):
        turn["reply"] = reply
    if episode.plan is not None:
        line["plan"] = chat.decode_reply(episode.plan.token_ids[episode.plan.sampled].tolist())
    return line


def episode_of(line: Record, task: Task) -> Episode:
    """The episode of a line, without tokens, seeds and rewards of single turns."""
    turns = tuple(
        Turn(turn["action"], turn["observation"], 0.0, turn.get("invalid", False), turn["sub_done"], 0, 0)
        for turn in line.get("transcript") or ()
    )
    none = np.zeros(0, dtype=np.int32)
    goals = line.get("blueprint")
    return Episode(
        task=task,
        seed=0,
        blueprint=None if goals is None else Blueprint(tuple(goals), None if goals else "malformed"),
        plan=None,
        segments=(Segment(Role.FLAT, none, none.astype(np.bool_), none.astype(np.float32), turns),),
        ret=line["return"],
        stop=StopReason(line["stop"]),
        env_steps=line["env_steps"],
        error=line.get("error"),
        score=line.get("score"),
    )


def trial_of(line: Record, task: Task) -> Trial:
    """The trial of a line of `trials.jsonl`."""
    return Trial(
        episode_of(line, task), Spent(**line["usage"]), line["instruction"], line.get("opening", ""), line["reflection"]
    )
