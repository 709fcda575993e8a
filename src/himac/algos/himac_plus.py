"""HiMAC with nested executions: several sampled executions of each blueprint, and every step trains both roles.

Beyond the paper. Algorithm 1 spends about half of its steps on greedy executions that train the planner alone, and the
rest on one blueprint. Here the planner compares the mean returns of its blueprints' executions, the executor compares
executions of one blueprint; grouping by prefix as in prime-rl's hierarchical GRPO. Steps have credit of their own.

Shape suffixes: E episodes of a task, T turns of an episode.
"""
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from himac.algos.advantages import group_relative, relative_by_group
from himac.algos.base import Phase, PhaseContext, PhaseOutcome
from himac.algos.branching import branched
from himac.algos.graph import graph_step_advantages
from himac.algos.groups import other_tasks, sample_groups
from himac.config import AlgoConfig
from himac.rollout.rows import planner_rows, returns, turn_rows
from himac.rollout.sampling import HierarchicalSampler
from himac.seeding import derive_seed
from himac.settings import NonNegative, Positive, StdKind
from himac.types import Episode, Group, Row, Task


class HimacPlusConfig(AlgoConfig):
    """HiMAC with nested executions: `num_blueprints` a task, `num_rollouts` sampled executions of each.

    A turn of the executor has the advantage of its execution among those of its blueprint, plus `step_weight` times
    its own by the values of the states that the task's episodes visited. The planner is trained in every
    `plan_every`-th iteration. `branches` more ends of a task's executions are sampled from the end of a sub-goal, that
    of which it is least certain whether it leads to success. Unless they are given, `train.learner` has `apart: true`,
    `epochs: 3`, `mini_batches: 4` and `target_kl: 0.02`.
    """

    learner: ClassVar[Mapping[str, Any]] = {"apart": True, "epochs": 3, "mini_batches": 4, "target_kl": 0.02}
    factory = "himac.algos.himac_plus:HimacPlus"
    name: Literal["himac-plus"] = "himac-plus"
    tasks: Positive = 16
    num_blueprints: Annotated[int, Field(ge=2)] = 2
    num_rollouts: Annotated[int, Field(ge=2)] = 4
    std: StdKind = "none"
    step_weight: Annotated[float, Field(ge=0)] = 5.0
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.95
    plan_every: Positive = 1
    branches: NonNegative = 0
    resample: NonNegative = 0

    @property
    def episodes(self) -> int:
        return self.tasks * (self.num_blueprints * self.num_rollouts + self.branches)


Subgoals = tuple[str, ...]


class HimacPlus:
    """One phase, `nested`; rows of both roles."""

    def __init__(self, config: HimacPlusConfig, sampler: HierarchicalSampler) -> None:
        self.config, self.sampler = config, sampler
        self.tasks_per_iteration = config.tasks

    @property
    def phases(self) -> tuple[tuple[str, Phase], ...]:
        return (("nested", self.nested),)

    def nested(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """Sampled blueprints, each executed several times; gradient on blueprint tokens and on executor tokens."""
        plans, copies = self.config.num_blueprints, self.config.num_rollouts

        def sample(tasks: Sequence[Task]) -> list[list[Episode]]:
            blueprints = self.sampler.propose(tasks, plans, derive_seed(at.seed, "plan"), at.env_seed)
            attempts = [[z for z in candidates for _ in range(copies)] for candidates in blueprints]
            seed = derive_seed(at.seed, "sample")
            return self.sampler.execute(tasks, attempts, seed, at.env_seed, branching=self.config.branches > 0)

        groups, counts = sample_groups("n", at, tasks, sample, self.config.resample, other_tasks(at, tasks))
        families: list[list[Episode]] = [[] for _ in groups]
        if self.config.branches:
            families, cost = branched(self.sampler, groups, self.config.branches, at)
            counts |= cost | {"env_errors": counts["env_errors"] + cost["env_errors"]}
        planned = at.iteration % self.config.plan_every == 0
        rows = [row for group in groups if planned for row in self._planner_rows(group)]
        rows += [row for both in zip(groups, families, strict=True) for row in self._executor_rows(*both)]
        return PhaseOutcome(rows, groups, metrics=counts)

    def _planner_rows(self, group: Group) -> list[Row]:
        """Eq. 2 over the sampled blueprints; R(z) is the mean return of all executions of blueprints equal to z."""
        values = dict[Subgoals, list[float]]()
        for subgoals, episode in zip(_blueprints(group.episodes), group.episodes, strict=True):
            values.setdefault(subgoals, []).append(episode.ret)
        # Executions of one proposal share its tokens; each proposal is one row.
        proposed = tuple({id(episode.plan): episode for episode in group.episodes}.values())
        means = [float(np.mean(values[subgoals])) for subgoals in _blueprints(proposed)]
        return planner_rows(Group(group.id, group.task, proposed), group_relative(means, self.config.std))

    def _executor_rows(self, group: Group, family: Sequence[Episode]) -> list[Row]:
        """Eq. 2 over the executions of equal blueprints, plus `step_weight` times the step's own advantage.

        Branches are compared with the rest of the execution they start from, the first of the `family`.
        """
        config, episodes = self.config, (*group.episodes, *family[1:])
        among_executions = relative_by_group(returns(group.episodes), _blueprints(group.episodes), config.std)
        episode_E = np.concatenate([among_executions, group_relative(returns(family), config.std)[1:]])
        steps = graph_step_advantages(episodes, self.sampler.spec.costs, config.gamma)
        advantages = [base + config.step_weight * step_T for base, step_T in zip(episode_E, steps, strict=True)]
        return turn_rows(Group(group.id, group.task, episodes), advantages)


def _blueprints(episodes: Sequence[Episode]) -> list[Subgoals]:
    return [episode.blueprint.subgoals if episode.blueprint else () for episode in episodes]
