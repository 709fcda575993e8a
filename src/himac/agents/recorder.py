"""Builds one segment token by token: the only place that assembles contexts, in rollout and from demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from himac.scene import Placed, pictures_in
from himac.types import Role, Row, Segment, Turn


class SegmentRecorder:
    """An append-only context with, per token, whether the policy sampled it and at what log-probability."""

    def __init__(self, role: Role, prompt_ids: Sequence[int], subgoal: str | None = None) -> None:
        self.role = role
        self.subgoal = subgoal
        self.token_ids: list[int] = list(prompt_ids)
        self.pictures: list[Placed] = list(pictures_in(prompt_ids))
        self._sampled: list[bool] = [False] * len(self.token_ids)
        self._logprobs: list[float] = [0.0] * len(self.token_ids)
        self._mistake: list[bool] = [False] * len(self.token_ids)
        self._turns: list[Turn] = []
        self.replies: list[int] = []
        """Tokens of each reply."""
        self._versions: list[int] = []

    def __len__(self) -> int:
        return len(self.token_ids)

    def given(self, token_ids: Sequence[int], mistake: bool = False) -> None:
        """Tokens the policy did not choose: observations, forced ends, mistakes shown in a demonstration."""
        self.pictures.extend(placed.moved(len(self.token_ids)) for placed in pictures_in(token_ids))
        self.token_ids.extend(token_ids)
        self._mistake.extend([mistake] * len(token_ids))
        self._sampled.extend([False] * len(token_ids))
        self._logprobs.extend([0.0] * len(token_ids))

    def reply(
        self,
        token_ids: Sequence[int],
        logprobs: Sequence[float] | None = None,
        sampled: Sequence[bool] | None = None,
        version: int = 0,
    ) -> tuple[int, int]:
        """A reply of the policy, in one version of its weights; returns its half-open token span."""
        start = len(self.token_ids)
        self._versions.append(version)
        flags = list(sampled) if sampled is not None else [True] * len(token_ids)
        values = list(logprobs) if logprobs is not None else [0.0] * len(token_ids)
        self.replies.append(len(token_ids))
        self.token_ids.extend(token_ids)
        self._sampled.extend(flags)
        self._mistake.extend([False] * len(token_ids))
        self._logprobs.extend(value if flag else 0.0 for value, flag in zip(values, flags, strict=True))
        return start, len(self.token_ids)

    def turn(self, turn: Turn) -> None:
        """Record what came of a reply."""
        self._turns.append(turn)

    def segment(self) -> Segment:
        """Freeze."""
        return Segment(
            role=self.role,
            token_ids=np.asarray(self.token_ids, dtype=np.int32),
            sampled=np.asarray(self._sampled, dtype=np.bool_),
            logprobs=np.asarray(self._logprobs, dtype=np.float32),
            turns=tuple(self._turns),
            subgoal=self.subgoal,
            pictures=tuple(self.pictures),
            policy_version=min(self._versions, default=0),
        )

    def demo_row(self, group_id: str, context_weight: float = 0.0) -> Row:
        """The segment as a supervised row: every reply is imitated, a shown mistake never.

        Args:
            context_weight: Weight of predicting prompts and observations, beside 1 for replies. They repeat names of
                the replies and the other way round, which teaches a model from scratch to copy.
        """
        segment = self.segment()
        weights = np.where(segment.sampled, 1.0, context_weight).astype(np.float32)
        weights[np.asarray(self._mistake, dtype=np.bool_)] = 0.0
        weights[:1] = 0.0
        for placed in segment.pictures:  # placeholders are no text to predict
            weights[placed.start : placed.end] = 0.0
        logprobs = np.zeros(len(weights), dtype=np.float32)
        return Row(segment.token_ids, weights > 0, logprobs, weights, self.role, group_id, pictures=segment.pictures)
