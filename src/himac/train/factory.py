"""Maps the configuration onto the learner and the algorithm by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.base import Algorithm
from himac.algos.grpo import Grpo
from himac.algos.himac import Himac
from himac.algos.sampling import FlatSampler, HierarchicalSampler
from himac.config import Config
from himac.errors import ConfigError
from himac.rollout.runtime import Runtime
from himac.train.learner import Learner, LearnerConfig

ALGORITHMS: dict[str, tuple[str, Callable[[Any, Any], Algorithm]]] = {
    "himac": ("hierarchical", Himac),
    "grpo": ("flat", Grpo),
}


def check_training(config: Config) -> None:
    """Refuse a combination of settings that cannot be trained, before time is spent on it.

    Raises:
        ConfigError: the agent is not of the kind that the algorithm trains, or its roles differ in temperature.
    """
    kind, _ = ALGORITHMS[config.algo.name]
    if config.agent.name != kind:
        raise ConfigError(f"algorithm '{config.algo.name}' trains the {kind} agent; set agent.name={kind}")
    _temperature(config)


def make_learner(model: Any, config: Config, ref_model: Any = None, **changes: Any) -> Learner:
    """A learner with the settings of `train.learner`, some of them replaced.

    Args:
        changes: Fields of `train.learner.LearnerConfig`; a schedule that falls needs `total_steps`.
    """
    fields = config.train.learner.model_dump() | {"temperature": _temperature(config), "seed": config.seed} | changes
    return Learner(model, LearnerConfig(**fields), ref_model=ref_model)


def _temperature(config: Config) -> float:
    """The trainer scores tokens at the temperature they were sampled at, one for all roles."""
    agent = config.agent
    if agent.name == "flat":
        return agent.flat.temperature
    if agent.planner.temperature != agent.executor.temperature:
        raise ConfigError("planner.temperature and executor.temperature must be equal: both are trained in one update")
    return agent.executor.temperature


def make_algorithm(config: Config, runtime: Runtime) -> Algorithm:
    """The algorithm of the configuration over the runtime's agent.

    Raises:
        ConfigError: the agent is not of the kind that the algorithm trains.
    """
    check_training(config)
    _, build = ALGORITHMS[config.algo.name]
    if isinstance(runtime.agent, FlatAgent):
        return build(config.algo, FlatSampler(runtime.setting, runtime.agent, runtime.collector))
    assert isinstance(runtime.agent, HierarchicalAgent)
    return build(config.algo, HierarchicalSampler(runtime.setting, runtime.agent, runtime.collector))


def planned_steps(config: Config, runtime: Runtime) -> int:
    """Optimiser steps of the whole run, over which `linear` and `cosine` schedules fall to zero."""
    learner = config.train.learner
    phases = len(make_algorithm(config, runtime).phases)
    return config.train.iterations * phases * learner.mini_batches * learner.epochs
