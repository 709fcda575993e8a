"""Episodes and advantages -> rows. A row is a segment; its mask is what the policy sampled itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from himac.types import Episode, Group, Row, Segment


def segment_row(segment: Segment, advantage: float, group_id: str) -> Row:
    """One segment with one advantage on every sampled token (forced and given tokens are masked).

    The row ends with its last sampled token: what follows trains nothing, and may be longer than the model's context.
    """
    mask = segment.sampled.copy()
    if len(mask):
        mask[0] = False
    trained = np.flatnonzero(mask)
    end = int(trained[-1]) + 1 if len(trained) else 1
    mask = mask[:end]
    return Row(
        input_ids=segment.token_ids[:end],
        loss_mask=mask,
        old_logprobs=np.where(mask, segment.logprobs[:end], 0.0).astype(np.float32),
        advantages=np.where(mask, np.float32(advantage), np.float32(0.0)).astype(np.float32),
        role=segment.role,
        group_id=group_id,
    )


def planner_rows(group: Group, advantages: Sequence[float]) -> list[Row]:
    """Blueprint tokens only (macro objective)."""
    return [
        segment_row(episode.plan, advantage, group.id)
        for episode, advantage in zip(group.episodes, advantages, strict=True)
        if episode.plan is not None
    ]


def execution_rows(group: Group, advantages: Sequence[float]) -> list[Row]:
    """Tokens of the acting policy only, `<sub_done>` included (micro objective; the whole episode of a flat policy)."""
    return [
        segment_row(segment, advantage, group.id)
        for episode, advantage in zip(group.episodes, advantages, strict=True)
        for segment in episode.segments
    ]


def returns(episodes: Sequence[Episode]) -> list[float]:
    """Returns R of the episodes."""
    return [episode.ret for episode in episodes]
