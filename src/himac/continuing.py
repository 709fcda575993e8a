"""Which settings may change when a run is continued."""

from __future__ import annotations

from himac.config import Config
from himac.errors import ConfigError

BUDGET = ("train.env_steps", "train.iterations")
MEMORY = (
    "engine.cache_tokens",
    "train.learner.gradient_checkpointing",
    "train.learner.loss_chunk",
    "train.learner.max_tokens_per_microbatch",
    "train.learner.offload_reference",
)
MACHINE = ("threads", "train.rollout_workers", "engine", *MEMORY)
"""How a run is computed, not what: a rerun gives the same numbers with the same values, nearly the same with others,
and with another engine other draws of the same distributions."""


def check_budget(saved: Config, wanted: Config) -> None:
    """Refuse a longer budget under a schedule that has fallen with the shorter one: the rate would rise again.

    Raises:
        ConfigError: `train.env_steps` or `train.iterations` has grown and `train.learner.schedule` is not constant.
    """
    schedule = wanted.train.learner.schedule
    if schedule == "constant":
        return
    for key in BUDGET:
        name = key.removeprefix("train.")
        before, now = getattr(saved.train, name), getattr(wanted.train, name)
        if before is not None and (now is None or now > before):
            raise ConfigError(
                f"{key} cannot grow from {before} to {now}: the learning rate of train.learner.schedule={schedule} has "
                "fallen with the first budget and would rise again; start anew, or train with schedule=constant"
            )
