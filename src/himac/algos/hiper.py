# ruff: noqa: N803, N806, N815
"""HiPER (arXiv 2602.16165): one policy that keeps or switches its sub-goal, with hierarchical advantage estimation.

Shape suffixes as in `algos.hae`: S turns, H value heads, 3 levels, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from himac.agents.hiper import HiperAgent
from himac.algos.advantages import Float64Array
from himac.algos.base import Critic, PhaseContext, PhaseOutcome
from himac.algos.flat import FlatAlgoConfig, FlatAlgorithm
from himac.algos.hae import (
    HIGH,
    hierarchical_advantages,
    level_masks,
    normalised,
    per_token,
    segment_starts,
    shaped_rewards,
    value_positions,
)
from himac.config import Trained
from himac.rollout.rows import segment_row
from himac.rollout.sampling import FlatSampler
from himac.settings import Discount, Penalty
from himac.types import BoolArray, Episode, FloatArray, Group, Row, Segment, Task, Turn, ValueTargets


class HiperConfig(FlatAlgoConfig):
    """HiPER: a policy that keeps or switches its sub-goal, with hierarchical advantages from learned values."""

    trains: ClassVar[Trained] = "hiper"
    factory = "himac.algos.hiper:Hiper"
    name: Literal["hiper"] = "hiper"
    heads: Literal[1, 2, 3] = 3
    gamma: Discount = 1.0
    lam_turn: Annotated[float, Field(ge=0, le=1)] = 1.0
    lam_seg: Annotated[float, Field(ge=0, le=1)] = 0.95
    keep_penalty: Penalty = -0.3
    keep_penalty_mode: Literal["fixed", "normalized"] = "normalized"
    consistency_penalty: Penalty = -0.3
    normalise: bool = True

    @property
    def value_heads(self) -> int:
        return self.heads

    @property
    def equal_returns_teach(self) -> bool:
        """Nothing is compared within a group."""
        return True


IndexArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """An episode as the estimator sees it.

    Attributes:
        row: Without advantages.
        rewards_S: With the penalties and, on the last turn, the failure floor.
        starts_S: Turns that open a segment.
        turn_T: Turn of each token; any number outside the turns.
        level_T3: Which level's advantage the token gets. Forced and given tokens get none.
        place_SH: Token at which each head values the turn.
        valued_SH: Whether it is trained there.
    """

    row: Row
    rewards_S: Float64Array
    starts_S: BoolArray
    turn_T: IndexArray
    level_T3: BoolArray
    place_SH: IndexArray
    valued_SH: BoolArray


class Hiper(FlatAlgorithm[HiperConfig]):
    """Switch decisions, sub-goals and actions each get the advantage of their own level.

    With three value heads (low, high, term) a switch decision gets the advantage of terminating; with fewer, one that
    opens a segment gets that of the segment. Every failure ends with the floor of its return on its last turn, so
    nothing follows any episode and no value is bootstrapped at its end.
    """

    def __init__(self, config: HiperConfig, sampler: FlatSampler, critic: Critic) -> None:
        super().__init__(config, sampler)
        assert isinstance(sampler.agent, HiperAgent)
        self.agent, self.critic = sampler.agent, critic

    def flat(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """The one phase. `switch_fraction` counts turns after the first, `formed_fraction` replies in the format."""
        outcome = super().flat(at, tasks, carry)
        segments = [s for group in outcome.groups for episode in group.episodes for s in episode.segments]
        decisions = [[self.agent.decide(_reply(segment, turn)) for turn in segment.turns] for segment in segments]
        later = [decision.switch for episode in decisions for decision in episode[1:]]
        formed = [decision.formed for episode in decisions for decision in episode]
        figures = {"switch_fraction": _mean(later), "formed_fraction": _mean(formed)}
        return replace(outcome, metrics=outcome.metrics | figures)

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """Estimates of every episode, normalised over all of them, on their tokens."""
        attempts = [self._attempt(e, group.id) for group in groups for e in group.episodes if e.turns]
        if not attempts:
            return []
        values = self.critic.values([attempt.row for attempt in attempts])
        estimates = [self._estimate(attempt, v_TH) for attempt, v_TH in zip(attempts, values, strict=True)]
        advantages_S3 = np.concatenate([advantages for advantages, _ in estimates])
        firsts = np.cumsum([0, *(len(attempt.rewards_S) for attempt in attempts[:-1])])
        turn_T = np.concatenate([attempt.turn_T + first for attempt, first in zip(attempts, firsts, strict=True)])
        level_T3 = np.concatenate([attempt.level_T3 for attempt in attempts])
        if self.config.normalise:
            advantages_S3 = normalised(advantages_S3, turn_T, level_T3)
        tokens_T = per_token(advantages_S3, turn_T, level_T3).sum(axis=-1).astype(np.float32)
        ends = np.cumsum([len(attempt.turn_T) for attempt in attempts])[:-1]
        return [
            replace(attempt.row, advantages=advantages, value=_value_targets(attempt, v_TH, targets_S3))
            for attempt, advantages, v_TH, (_, targets_S3) in zip(
                attempts, np.split(tokens_T, ends), values, estimates, strict=True
            )
        ]

    def _attempt(self, episode: Episode, group_id: str) -> _Attempt:
        (segment,) = episode.segments
        row = segment_row(segment, 0.0, group_id)
        length, turns, heads = len(row.input_ids), len(segment.turns), self.config.heads
        replies = [_reply(segment, turn) for turn in segment.turns]
        decisions = [self.agent.decide(reply) for reply in replies]
        switch_S = np.array([decision.switch for decision in decisions])
        starts_S = segment_starts(switch_S)
        turn_T, part_T3 = np.zeros(length, np.int64), np.zeros((length, 3), np.bool_)
        place_S3 = np.zeros((turns, 3), np.int64)
        for number, (turn, reply) in enumerate(zip(segment.turns, replies, strict=True)):
            spans = self.agent.spans(reply)
            turn_T[turn.start : turn.end] = number
            for part, span in enumerate((spans.switch, spans.subgoal, spans.action)):
                part_T3[turn.start + span.start : turn.start + span.stop, part] = True
            chosen = int(row.loss_mask[turn.start : turn.end].sum())  # forced tokens stand at the end
            place_S3[number] = value_positions(spans.switch.stop, spans.subgoal.stop, chosen)
            place_S3[number] += turn.start
        place_SH = np.minimum(place_S3[:, :heads], length - 1)
        valued_SH = row.loss_mask[place_SH]
        valued_SH[~starts_S, HIGH : HIGH + 1] = False
        term = heads == 3
        part_T3 &= row.loss_mask[:, None]
        return _Attempt(
            row=row,
            rewards_S=shaped_rewards(
                np.array(self.sampler.spec.costs.turn_rewards(episode, self.config.gamma)),
                switch_S,
                [decision.subgoal for decision in decisions],
                keep_penalty=self.config.keep_penalty,
                mode=self.config.keep_penalty_mode,
                consistency_penalty=self.config.consistency_penalty,
            ),
            starts_S=starts_S,
            turn_T=turn_T,
            level_T3=level_masks(part_T3, starts_S[turn_T], term=term, high_to_switch=not term),
            place_SH=place_SH,
            valued_SH=valued_SH,
        )

    def _estimate(self, attempt: _Attempt, values_TH: FloatArray) -> tuple[Float64Array, Float64Array]:
        """Advantages and value targets, [S, 3] both."""
        return hierarchical_advantages(
            attempt.rewards_S,
            attempt.starts_S,
            np.take_along_axis(values_TH, attempt.place_SH, axis=0),
            gamma=self.config.gamma,
            lam_turn=self.config.lam_turn,
            lam_seg=self.config.lam_seg,
        )


def _value_targets(attempt: _Attempt, values_TH: FloatArray, targets_S3: Float64Array) -> ValueTargets:
    mask, target = np.zeros(values_TH.shape, np.bool_), np.zeros(values_TH.shape, np.float32)
    for head in range(values_TH.shape[1]):
        valued_S = attempt.valued_SH[:, head]
        places = attempt.place_SH[valued_S, head]
        mask[places, head] = True
        target[places, head] = targets_S3[valued_S, head]
    return ValueTargets(mask, values_TH, target)


def _reply(segment: Segment, turn: Turn) -> tuple[int, ...]:
    return tuple(segment.token_ids[turn.start : turn.end].tolist())


def _mean(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if flags else 0.0
