"""Figures of a phase's episodes beyond success: degenerate groups, distinct blueprints, cut segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from himac.rollout.returns import all_equal
from himac.types import Episode, Group, StopReason


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Fractions over groups.

    Returns:
        `degenerate_fraction` (all returns of a group equal: no gradient), `distinct_blueprints` (distinct / sampled)
        and `return_spread` (mean standard deviation inside groups).
    """
    if not groups:
        return {}
    spreads = [float(np.std([e.ret for e in group.episodes])) for group in groups]
    metrics = {
        "degenerate_fraction": float(np.mean([all_equal([e.ret for e in group.episodes]) for group in groups])),
        "return_spread": float(np.mean(spreads)),
    }
    planned = [g for g in groups if len({id(e.plan) for e in g.episodes}) > 1]
    if planned:
        shares = [
            len({e.blueprint.subgoals if e.blueprint else () for e in g.episodes}) / len(g.episodes) for g in planned
        ]
        metrics["distinct_blueprints"] = float(np.mean(shares))
    return metrics


def context_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Share of the segments that the longest context cut off, with the episode; nothing without segments."""
    segments = sum(len(episode.segments) for episode in episodes)
    cut = sum(episode.stop is StopReason.CONTEXT_LIMIT for episode in episodes)
    return {"segments_too_long": cut / segments} if segments else {}
