"""HiMAC: Algorithm 1 of the paper. Blueprints compete with blueprints, executions of the best one with one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from himac.algos.advantages import Float64Array, group_relative
from himac.algos.base import Phase, PhaseContext, PhaseOutcome
from himac.algos.groups import merged, sample_groups
from himac.algos.sampling import HierarchicalSampler
from himac.algos.steps import turn_advantages
from himac.config import HimacConfig
from himac.rollout.episode import Proposal
from himac.rollout.rows import planner_rows, returns, turn_rows
from himac.seeding import derive_seed
from himac.types import Episode, Group, Task

Selected = tuple[str, tuple[str, ...], float]
"""Id of a task, its z* and R(z*): all that phase B needs of phase A, in plain values that a checkpoint can hold."""


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
            blueprints = self.sampler.propose(tasks, self.config.plans, derive_seed(at.seed, "plan"), at.env_seed)
            seed = derive_seed(at.seed, "greedy")
            return self.sampler.score(tasks, blueprints, seed, at.env_seed, self.config.score_executions)

        groups, counts = sample_groups("a", at, tasks, sample, self.config.resample)
        rows = [r for g in groups for r in planner_rows(g, group_relative(returns(g.episodes), self.config.std))]
        return PhaseOutcome(rows, groups, [self._select(at, group) for group in groups], counts)

    def micro(self, at: PhaseContext, tasks: Sequence[Task], carry: list[Selected]) -> PhaseOutcome:
        """Phase B, lines 11-14: sampled executions of z*; gradient on executor tokens only."""
        known = {task.id: task for task in tasks}
        others = {name for name, _, _ in carry} - known.keys()
        if others:  # tasks that phase A put in place of some; the pool may be large
            known |= {task.id: task for task in at.pool if task.id in others}
        kept = [(known[name], z) for name, z, value in carry if value > 0 or not self.config.require_positive]

        def sample(tasks: Sequence[Task]) -> list[list[Episode]]:
            chosen = [[Proposal.given(z)] * self.config.executions for _, z in kept]
            return self.sampler.execute(tasks, chosen, derive_seed(at.seed, "sample"), at.env_seed)

        groups, counts = sample_groups("b", at, [task for task, _ in kept], sample)
        rows = [r for group in groups for r in turn_rows(group, self._micro_advantages(group))]
        return PhaseOutcome(rows, groups, metrics=counts)

    def joint(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """Ablation without co-evolution: both phases under the same weights, then one update of both roles."""
        macro = self.macro(at, tasks, None)
        return merged(macro, self.micro(at, tasks, macro.carry))

    def _micro_advantages(self, group: Group) -> list[Float64Array]:
        """Eq. 2 over the executions of z*; not in the paper: plus `step_weight` times GiGPO's step advantage."""
        weight, gamma, std = self.config.step_weight, self.config.gamma, self.config.std
        return turn_advantages(group, self.sampler.setting.costs, weight=weight, gamma=gamma, std=std, step_std=std)

    def _select(self, at: PhaseContext, group: Group) -> Selected:
        """Eq. 4, z* = argmax R; ties: one that can be executed, fewer steps, then fewer sub-goals, then the first."""
        plans = [episode.blueprint.subgoals if episode.blueprint else () for episode in group.episodes]
        pairs = enumerate(zip(group.episodes, plans, strict=True))
        # Returns that differ by rounding are equal.
        best = min((-round(e.ret, 9), not z, e.env_steps, len(z), n) for n, (e, z) in pairs)[-1]
        if self.config.blueprint_selection == "random":
            best = derive_seed(at.seed, "select", group.id) % len(plans)
        return group.task.id, plans[best], group.episodes[best].ret
