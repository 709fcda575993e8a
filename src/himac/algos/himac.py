"""HiMAC: Algorithm 1 of the paper. Blueprints compete with blueprints, executions of the best one with one another."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from himac.algos.advantages import Float64Array, group_relative
from himac.algos.base import Phase, PhaseContext, PhaseOutcome
from himac.algos.groups import merged, other_tasks, sample_groups
from himac.algos.grpo import GrpoConfig
from himac.algos.selection import Candidate, Selection, Subgoals, ranked_blueprints
from himac.algos.steps import turn_advantages
from himac.config import AlgoConfig
from himac.rollout.episode import Proposal
from himac.rollout.rows import planner_rows, returns, turn_rows
from himac.rollout.sampling import HierarchicalSampler
from himac.seeding import derive_seed
from himac.settings import Discount, NonNegative, Positive, StdKind
from himac.types import Episode, Group, Task


class HimacConfig(AlgoConfig):
    """Algorithm 1. `num_blueprints` is G and `num_rollouts` is M of the paper.

    `hierarchy: false` makes flat GRPO of it, with groups of `num_rollouts` episodes.
    """

    factory = "himac.algos.himac:Himac"
    name: Literal["himac"] = "himac"
    hierarchy: bool = True
    tasks: Positive = 16
    num_blueprints: Annotated[int, Field(ge=2)] = 8
    num_rollouts: Annotated[int, Field(ge=2)] = 8
    std: StdKind = "population"
    blueprint_selection: Selection = "best"
    co_evolution: bool = True
    require_positive: bool = False
    resample: NonNegative = 0
    resample_executions: NonNegative = 0
    score_executions: NonNegative = 0
    step_weight: Annotated[float, Field(ge=0)] = 0.0
    gamma: Discount = 0.95

    @property
    def episodes(self) -> int:
        return self.tasks * (self.num_blueprints * (1 + self.score_executions) + self.num_rollouts)

    def resolved(self) -> AlgoConfig:
        if self.hierarchy:
            return self
        return GrpoConfig(tasks=self.tasks, group_size=self.num_rollouts, std=self.std, resample=self.resample)

    @model_validator(mode="after")
    def _switches_fit(self) -> HimacConfig:
        if self.blueprint_selection == "learnability" and self.score_executions < 2:
            raise ValueError(
                "blueprint_selection=learnability compares how often sampled executions succeed; set "
                "algo.score_executions to 2 or more, or algo.blueprint_selection=best"
            )
        if self.resample_executions and self.step_weight:
            raise ValueError(
                "resample_executions replaces groups with equal returns, whose steps teach all the same; set "
                "algo.resample_executions=0 or algo.step_weight=0"
            )
        return self


Selected = tuple[str, list[Candidate]]
"""Id of a task, and its z* with R(z*) before those that may take its place: all that phase B needs of phase A, in plain
values that a checkpoint can hold."""


class Himac:
    """Iterative co-evolution of planner (phase A, `macro`) and executor (phase B, `micro`)."""

    def __init__(self, config: HimacConfig, sampler: HierarchicalSampler) -> None:
        self.config, self.sampler = config, sampler
        self.tasks_per_iteration = config.tasks

    @property
    def phases(self) -> tuple[tuple[str, Phase], ...]:
        if not self.config.co_evolution:  # ablation: one joint update of both roles
            return (("joint", self.joint),)
        return (("macro", self.macro), ("micro", self.micro))

    def macro(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """Phase A, lines 4-9: sampled blueprints under the greedy executor; gradient on blueprint tokens only."""

        def sample(tasks: Sequence[Task]) -> list[list[Episode]]:
            blueprints = self.sampler.propose(
                tasks, self.config.num_blueprints, derive_seed(at.seed, "plan"), at.env_seed
            )
            seed = derive_seed(at.seed, "greedy")
            return self.sampler.score(tasks, blueprints, seed, at.env_seed, self.config.score_executions)

        groups, counts = sample_groups("a", at, tasks, sample, self.config.resample, other_tasks(at, tasks))
        rows = [r for g in groups for r in planner_rows(g, group_relative(returns(g.episodes), self.config.std))]
        ranked = [
            (group.task.id, ranked_blueprints(group, self.config.blueprint_selection, at.seed)) for group in groups
        ]
        most = 1 + self.config.resample_executions
        return PhaseOutcome(rows, groups, [(name, candidates[:most]) for name, candidates in ranked], counts)

    def micro(self, at: PhaseContext, tasks: Sequence[Task], carry: list[Selected]) -> PhaseOutcome:
        """Phase B, lines 11-14: sampled executions of z*; gradient on executor tokens only.

        Not in the paper: `resample_executions` of the task's other blueprints stand in where all fare alike.
        """
        known = {task.id: task for task in tasks}
        others = {name for name, _ in carry} - known.keys()
        if others:  # tasks that phase A put in place of some; the pool may be large
            known |= {task.id: task for task in at.pool if task.id in others}
        least = 0.0 if self.config.require_positive else -inf
        kept = [[(known[name], z) for z, value in candidates if value > least] for name, candidates in carry]
        queues = [iter(pairs) for pairs in kept if pairs]

        def sample(pairs: Sequence[tuple[Task, Subgoals]]) -> list[list[Episode]]:
            copies = [[Proposal.given(z)] * self.config.num_rollouts for _, z in pairs]
            chosen = [task for task, _ in pairs]
            return self.sampler.execute(chosen, copies, derive_seed(at.seed, "sample"), at.env_seed)

        first, tries = [next(queue) for queue in queues], self.config.resample_executions
        groups, counts = sample_groups("b", at, first, sample, tries, lambda n: next(queues[n], None))
        rows = [r for group in groups for r in turn_rows(group, self._micro_advantages(group))]
        return PhaseOutcome(rows, groups, metrics=counts)

    def joint(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """Ablation without co-evolution: both phases under the same weights, then one update of both roles."""
        macro = self.macro(at, tasks, None)
        return merged(macro, self.micro(at, tasks, macro.carry))

    def _micro_advantages(self, group: Group) -> list[Float64Array]:
        """Eq. 2 over the executions of z*; not in the paper: plus `step_weight` times GiGPO's step advantage."""
        weight, gamma, std = self.config.step_weight, self.config.gamma, self.config.std
        return turn_advantages(group, self.sampler.spec.costs, weight=weight, gamma=gamma, std=std, step_std=std)
