"""Episodes and advantages -> rows. A row is a segment; its mask is what the policy sampled itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from himac.types import Episode, Group, Row, Segment


def segment_row(segment: Segment, advantage: ArrayLike, group_id: str) -> Row:
    """One segment with its advantage on every sampled token (forced and given tokens are masked).

    The row ends with its last sampled token: what follows trains nothing, and may be longer than the model's context.

    Args:
        advantage: One for all tokens, or one a token of the segment, [T].
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
        advantages=np.where(mask, np.broadcast_to(advantage, segment.token_ids.shape)[:end], 0.0).astype(np.float32),
        role=segment.role,
        group_id=group_id,
        pictures=tuple(placed for placed in segment.pictures if placed.end <= end),
        segment=segment,
    )


def planner_rows(group: Group, advantages: Iterable[float]) -> list[Row]:
    """Blueprint tokens only (macro objective)."""
    return [
        segment_row(episode.plan, advantage, group.id)
        for episode, advantage in zip(group.episodes, advantages, strict=True)
        if episode.plan is not None
    ]


def execution_rows(group: Group, advantages: Iterable[float]) -> list[Row]:
    """Tokens of the acting policy only, `<sub_done>` included (micro objective; the whole episode of a flat policy)."""
    return [
        segment_row(segment, advantage, group.id)
        for episode, advantage in zip(group.episodes, advantages, strict=True)
        for segment in episode.segments
    ]


def turn_rows(group: Group, advantages: Iterable[Sequence[float] | NDArray[np.float64]]) -> list[Row]:
    """As `execution_rows`, with one advantage a turn of each episode; of one that branched off, of its own turns."""
    rows = list[Row]()
    for episode, values in zip(group.episodes, advantages, strict=True):
        turns = sum(len(segment.turns) for segment in episode.own)
        assert len(values) == turns, f"{len(values)} advantages for {turns} turns"
        left = iter(values)
        for segment in episode.own:
            per_token = np.zeros(len(segment.token_ids))
            for turn in segment.turns:
                per_token[turn.start : turn.end] = next(left)
            rows.append(segment_row(segment, per_token, group.id))
    return rows


def returns(episodes: Sequence[Episode]) -> list[float]:
    """Returns R of the episodes."""
    return [episode.ret for episode in episodes]
