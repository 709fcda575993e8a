"""Settings of the learner: those of the configuration and those that follow from the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from himac.errors import ConfigError

if TYPE_CHECKING:  # settings are checked before torch is imported
    from himac.algos.losses import AggregationMode, KlKind, RatioKind
    from himac.train.forward import Precision
    from himac.train.optim import OptimizerKind, ScheduleKind

CreditKind = Literal["uniform", "dgpo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePace:
    """What differs for the rows of one role.

    Attributes:
        lr_scale: Factor on the learning rate.
        epochs, mini_batches: In place of the learner's; `None`: those.
    """

    lr_scale: float = 1.0
    epochs: int | None = None
    mini_batches: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Settings of the update; `train.factory.learner_config` makes them, defaults are those of the configuration.

    Attributes:
        total_steps: Optimiser steps of the whole run, for `linear` and `cosine` schedules.
        max_grad_norm: Gradients are scaled down to this norm; `None` leaves them alone.
        mini_batches: Optimiser steps an epoch; rows are split evenly among them.
        max_tokens_per_microbatch: Bounds memory; the result does not depend on it.
        dual_clip: See `algos.losses.policy_loss`; `None` is off.
        aggregation_horizon: The constant of `seq-mean-token-sum-norm`.
        kl_coef: beta of eq. 3; 0 needs no reference.
        temperature: Divides the logits; the sampler's.
        precision: `fp32`, `bf16` autocast, or `auto`: bf16 where the hardware has it.
        seed: Of the split into mini-batches.
        value_heads: Values predicted from the hidden states; 0 for methods without a critic.
        value_coef: Weight of the value loss, a mean of squares.
        value_clip: See `algos.losses.value_loss`; `None` is off.
        value_detach: No gradient of the value loss reaches the policy. Without it that gradient is clipped together
            with the policy's, whose step large errors of the critic then shrink.
        value_lr: Learning rate of the heads as a multiple of `lr`.
        value_warmup: Updates at the start in which the heads alone are trained.
        target_kl: An update ends before a step at which the policy has moved half as far again from the one that
            sampled, and the rate of later updates follows how far it moved (see `train.parts`). Falls with the square
            of the schedule. `None` is off.
        apart: Rows of each role are trained one role after the other, each with an optimiser state, a warm-up and a
            rate of its own.
        roles: What differs for a role, by its name; with `apart`.
        credit: `dgpo` redistributes advantages over tokens, see `train.credit`.
        freeze_vision: The vision tower of a model that sees pictures stays as it is.
        keep_reference: Keep the frozen reference though no loss needs it (`Learner.reference_logprobs`).
    """

    lr: float
    betas: tuple[float, float]
    weight_decay: float
    optimizer: OptimizerKind
    warmup_steps: int
    schedule: ScheduleKind
    total_steps: int | None = None
    max_grad_norm: float | None
    mini_batches: int
    epochs: int
    max_tokens_per_microbatch: int
    clip_low: float
    clip_high: float
    dual_clip: float | None
    ratio: RatioKind
    aggregation: AggregationMode
    aggregation_horizon: int | None
    kl_kind: KlKind
    kl_coef: float
    entropy_coef: float
    temperature: float
    precision: Precision
    seed: int
    value_heads: int
    value_coef: float
    value_clip: float | None
    value_detach: bool
    value_lr: float
    value_warmup: int
    target_kl: float | None
    apart: bool
    roles: Mapping[str, RolePace]
    credit: CreditKind
    credit_temperature: float
    freeze_vision: bool
    keep_reference: bool

    def __post_init__(self) -> None:
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

    @property
    def needs_reference(self) -> bool:
        """Whether the starting weights are kept."""
        return self.kl_coef > 0 or self.credit == "dgpo" or self.keep_reference
