"""Figures of evaluated episodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from himac.evaluation.records import Record, episode_of
from himac.rollout.failures import some_sound
from himac.types import Episode, Task


def summarise(episodes: Sequence[Episode]) -> dict[str, float]:
    """Success in all and per task type, return, steps, stop reasons and plan statistics (fractions, not percent)."""
    if not episodes:
        return {}
    kinds = defaultdict[str, list[bool]](list)
    for episode in episodes:
        kinds[episode.task.kind].append(episode.success)
    turns = [turn for episode in episodes for turn in episode.turns]
    steps = [turn for turn in turns if turn.action is not None]
    summary = {
        "success": float(np.mean([e.success for e in episodes])),
        "return_mean": float(np.mean([e.ret for e in episodes])),
        "steps_mean": float(np.mean([e.env_steps for e in episodes])),
        "invalid_fraction": float(np.mean([t.invalid for t in steps])) if steps else 0.0,
    }
    scores = [episode.score or 0.0 for episode in episodes]
    if any(episode.score is not None for episode in episodes):
        summary["score"] = float(np.mean(scores))
    plans = [episode.blueprint for episode in episodes if episode.blueprint is not None]
    if plans:
        valid = [plan for plan in plans if plan.valid]
        summary["plan_validity"] = len(valid) / len(plans)
        summary["plan_length"] = float(np.mean([len(p.subgoals) for p in valid])) if valid else 0.0
        summary["plan_distinct"] = (
            float(np.mean([len(set(p.subgoals)) / len(p.subgoals) for p in valid])) if valid else 0.0
        )
    summary |= {f"success/{kind}": float(np.mean(flags)) for kind, flags in sorted(kinds.items())}
    stops = Counter(episode.stop for episode in episodes)
    summary |= {f"stop/{reason}": count / len(episodes) for reason, count in sorted(stops.items())}
    return summary


def summarise_lines(lines: Sequence[Record], tasks: Sequence[Task]) -> dict[str, Any]:
    """The same of lines of `results.jsonl`; raises what `some_sound` raises."""
    by_id = {task.id: task for task in tasks}
    return dict(summarise(some_sound([episode_of(line, by_id[line["task_id"]]) for line in lines])))
