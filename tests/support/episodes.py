"""Episodes made by hand: turns without tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from himac.types import Episode, Role, Segment, StopReason, Task, Turn


def turn(reward: float = 0.0, anchor: str = "", action: str | None = "go", invalid: bool = False) -> Turn:
    """A turn with the reward it shows in a record: an invalid action's penalty is in it."""
    return Turn(action, "", reward, invalid, action is None, 0, 0, anchor)


def made(
    stop: StopReason, turns: Sequence[Turn] = (), subgoals: Sequence[str | None] = ("goal",), ret: float = 0.0
) -> Episode:
    """An episode of these turns, spread over the sub-goals; `None` is a segment of the flat agent."""
    empty = np.zeros(0, np.int32)
    shares = np.array_split(np.arange(len(turns)), len(subgoals))
    segments = tuple(
        Segment(
            Role.EXECUTOR if goal else Role.FLAT,
            empty,
            empty.astype(bool),
            empty.astype(np.float32),
            tuple(turns[n] for n in share),
            goal,
        )
        for goal, share in zip(subgoals, shares, strict=True)
    )
    steps = sum(turn.action is not None for turn in turns)
    return Episode(Task("t", "kind"), 0, None, None, segments, ret, stop, steps)
