"""Maps the configuration onto the learner and the algorithm by name; torch is imported with the learner only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.base import Algorithm, Critic
from himac.config import Config
from himac.errors import ConfigError
from himac.models.policy import Policy
from himac.rollout.runtime import Runtime, require_weights
from himac.rollout.sampling import FlatSampler, HierarchicalSampler
from himac.training.settings import LearnerSettings

if TYPE_CHECKING:
    from himac.training.learner import Learner


def check_training(config: Config) -> None:
    """Refuse a combination of settings that cannot be trained, before time is spent on it.

    Raises:
        ConfigError: the agent is not of the kind that the algorithm trains, its roles differ in temperature, settings
            of the learner or processes contradict one another, or the model is behind an endpoint.
    """
    require_weights(config, "training")
    kind = config.algo.trains
    if config.agent.name != kind:
        raise ConfigError(f"algorithm '{config.algo.name}' trains the {kind} agent; set agent.name={kind}")
    if config.train.rollout_workers > 1 and config.env.workers:
        raise ConfigError(
            "train.rollout_workers above 1 runs environments in its own processes, which can start no others; "
            "set env.workers=0 or train.rollout_workers=1"
        )
    learner_settings(config, total_steps=1)


def check_taught(config: Config) -> None:
    """Refuse a warm start that would not teach the agent that is trained after it.

    Raises:
        ConfigError: its format is not among those of the demonstrations.
    """
    kind = config.agent.name
    if kind not in config.warmstart.formats:
        raise ConfigError(
            f"warmstart.formats does not teach the {kind} agent that is trained; leave it out, or add '{kind}' to it"
        )


def learner_settings(config: Config, **changes: Any) -> LearnerSettings:
    """The settings of `train.learner` with those that follow from the rest of the configuration.

    Args:
        changes: Fields that are replaced; a schedule that falls needs `total_steps`.
    """
    derived = {
        "temperature": config.agent.temperature,
        "seed": config.seed,
        "value_heads": config.algo.value_heads,
        "keep_reference": config.algo.needs_reference,
    }
    return LearnerSettings(**config.train.learner.model_dump() | derived | changes)


def make_learner(policy: Policy, config: Config, ref_model: Any = None, **changes: Any) -> Learner:
    """A learner with the settings of `learner_settings`."""
    from himac.training.learner import Learner

    return Learner(policy, learner_settings(config, **changes), ref_model=ref_model)


def make_algorithm(config: Config, runtime: Runtime, critic: Critic | None = None) -> Algorithm:
    """The algorithm of the configuration over the runtime's agent.

    Args:
        critic: Of a method with value heads: the learner. Without it such a method can name its phases only.

    Raises:
        ConfigError: the agent is not of the kind that the algorithm trains, or its module or class is not there.
    """
    check_training(config)
    build = config.algo.load_factory()
    sampler: FlatSampler | HierarchicalSampler
    if isinstance(runtime.agent, FlatAgent):
        sampler = FlatSampler(runtime.spec, runtime.agent, runtime.collector)
    else:
        assert isinstance(runtime.agent, HierarchicalAgent)
        sampler = HierarchicalSampler(runtime.spec, runtime.agent, runtime.collector)
    algorithm: Algorithm = build(config.algo, sampler, *([critic] if config.algo.value_heads else []))
    return algorithm


def planned_steps(config: Config, runtime: Runtime) -> int:
    """Optimiser steps of the whole run, over which `linear` and `cosine` schedules fall to zero."""
    learner = config.train.learner
    phases = len(make_algorithm(config, runtime).phases)
    return config.train.iterations * phases * learner.mini_batches * learner.epochs
