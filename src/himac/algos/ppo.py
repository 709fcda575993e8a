# ruff: noqa: N803, N806
"""PPO (Schulman et al. 2017): a flat policy with a critic on its own hidden states.

Shape suffixes: T tokens of a row, N tokens of the policy in all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from himac.algos.advantages import Float64Array
from himac.algos.base import Critic, PhaseContext, PhaseOutcome
from himac.algos.flat import FlatAlgoConfig, FlatAlgorithm
from himac.algos.gae import gae, turn_rewards, whiten
from himac.rollout.rows import segment_row
from himac.rollout.sampling import FlatSampler
from himac.settings import Discount, Positive
from himac.types import Episode, FloatArray, Group, Row, Task, ValueTargets


class PpoConfig(FlatAlgoConfig):
    """PPO: a critic values every token of an episode. `reward_kl` penalises leaving the starting model."""

    factory = "himac.algos.ppo:Ppo"
    name: Literal["ppo"] = "ppo"
    group_size: Positive = 8
    gamma: Discount = 1.0
    lam: Annotated[float, Field(ge=0, le=1)] = 0.95
    whiten: bool = True
    reward_kl: Annotated[float, Field(ge=0)] = 0.0

    @property
    def value_heads(self) -> int:
        return 1

    @property
    def needs_reference(self) -> bool:
        return self.reward_kl > 0

    @property
    def equal_returns_teach(self) -> bool:
        """Nothing is compared within a group."""
        return True


class ReferenceCritic(Critic, Protocol):
    """A critic that also knows the frozen reference, for `reward_kl`."""

    def reference_logprobs(self, rows: Sequence[Row]) -> list[FloatArray]:
        """Log-probability of the trained tokens under the reference, float32 [T] a row; 0 where not trained."""
        ...


class Ppo(FlatAlgorithm[PpoConfig]):
    """Proximal policy optimisation with generalised advantage estimation over the tokens of whole episodes.

    Every token of the policy is an action; observations are skipped. A turn's reward is paid at its last token, the
    last turn's with the failure floor, so that the rewards of an episode sum to its return.
    """

    def __init__(self, config: PpoConfig, sampler: FlatSampler, critic: ReferenceCritic) -> None:
        super().__init__(config, sampler)
        self.critic = critic

    def flat(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """The one phase. `explained_variance` is the share of the targets' variance that the critic foresaw."""
        outcome = super().flat(at, tasks, carry)
        targets = [row.value for row in outcome.rows if row.value is not None]
        if not targets:
            return outcome
        target_N = np.concatenate([value.target[value.mask] for value in targets]).astype(np.float64)
        error_N = target_N - np.concatenate([value.old[value.mask] for value in targets])
        variance = float(target_N.var())
        explained = 1.0 - float(error_N.var()) / variance if variance > 0 else 0.0
        return replace(outcome, metrics=outcome.metrics | {"explained_variance": explained})

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """One row an episode: advantages and value targets of the policy's tokens."""
        attempts = [(segment_row(e.segments[0], 0.0, g.id), e) for g in groups for e in g.episodes]
        attempts = [(row, episode) for row, episode in attempts if row.loss_mask.any()]
        if not attempts:
            return []
        rows = [row for row, _ in attempts]
        values = [values_T1[:, 0] for values_T1 in self.critic.values(rows)]
        estimates = [
            gae(rewards_T[row.loss_mask], values_T[row.loss_mask], self.config.gamma, self.config.lam)
            for row, rewards_T, values_T in zip(rows, self._rewards(attempts), values, strict=True)
        ]
        advantages_N = np.concatenate([advantages for advantages, _ in estimates])
        if self.config.whiten:
            advantages_N = whiten(advantages_N)
        ends = np.cumsum([len(advantages) for advantages, _ in estimates])[:-1]
        return [
            _with_estimates(row, advantages, returns, values_T)
            for row, advantages, (_, returns), values_T in zip(
                rows, np.split(advantages_N, ends), estimates, values, strict=True
            )
        ]

    def _rewards(self, attempts: Sequence[tuple[Row, Episode]]) -> list[Float64Array]:
        """Rewards of the tokens, [T] an episode, less the KL penalty log pi - log ref of each (k1)."""
        costs = self.sampler.spec.costs
        rewards = [
            turn_rewards([turn.end for turn in episode.turns], costs.turn_rewards(episode), row.loss_mask)
            for row, episode in attempts
        ]
        if self.config.reward_kl:
            rows = [row for row, _ in attempts]
            for rewards_T, row, ref_T in zip(rewards, rows, self.critic.reference_logprobs(rows), strict=True):
                rewards_T -= self.config.reward_kl * (row.old_logprobs - ref_T)
        return rewards


def _with_estimates(row: Row, advantages: Float64Array, returns: Float64Array, values_T: FloatArray) -> Row:
    mask_T = row.loss_mask
    advantages_T, target_T = np.zeros(len(mask_T), np.float32), np.zeros(len(mask_T), np.float32)
    advantages_T[mask_T], target_T[mask_T] = advantages, returns
    return replace(
        row, advantages=advantages_T, value=ValueTargets(mask_T[:, None], values_T[:, None], target_T[:, None])
    )
