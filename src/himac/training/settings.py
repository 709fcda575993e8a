"""Settings of the learner: those of the configuration and those that follow from the rest of it."""

from __future__ import annotations

from typing import Any

from himac.config import LearnerConfig, RoleConfig
from himac.errors import ConfigError


class LearnerSettings(LearnerConfig):
    """Settings of the update; `training.factory.learner_settings` makes them.

    Attributes:
        total_steps: Optimiser steps of the whole run, for `linear` and `cosine` schedules.
        temperature: Divides the logits; the sampler's.
        seed: Of the split into mini-batches.
        value_heads: Values predicted from the hidden states; 0 for methods without a critic.
        keep_reference: Keep the frozen reference though no loss needs it (`Learner.reference_logprobs`).
    """

    total_steps: int | None = None
    temperature: float
    seed: int
    value_heads: int = 0
    keep_reference: bool = False

    def model_post_init(self, context: Any) -> None:
        """Refuse settings that contradict one another."""
        if self.roles and not self.apart:
            raise ConfigError(
                "train.learner.roles is for roles that are trained apart; set train.learner.apart=true or leave it out."
            )
        if self.schedule != "constant" and self.total_steps is None:
            raise ConfigError(f"a {self.schedule} schedule needs total_steps; set it or use schedule=constant.")
        if self.aggregation == "seq-mean-token-sum-norm" and self.aggregation_horizon is None:
            raise ConfigError("seq-mean-token-sum-norm needs aggregation_horizon; set it to the longest row's tokens.")
        if self.credit == "dgpo" and self.kl_coef > 0:
            raise ConfigError("credit=dgpo stands in place of the KL term; set train.learner.kl_coef=0 beside it.")

    def of_role(self, role: str) -> RoleConfig:
        """What differs for the rows of a role."""
        return next((own for name, own in self.roles.items() if name == role), RoleConfig())

    @property
    def needs_reference(self) -> bool:
        """Whether the starting weights are kept."""
        return self.kl_coef > 0 or self.credit == "dgpo" or self.keep_reference
