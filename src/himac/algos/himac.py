"""HiMAC: Algorithm 1 of the paper. Blueprints compete with blueprints, executions of the best one with one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from himac.algos.advantages import group_relative
from himac.algos.base import Phase, PhaseContext, PhaseOutcome
from himac.algos.sampling import HierarchicalSampler
from himac.config import HimacConfig
from himac.rollout.episode import Proposal
from himac.rollout.rows import execution_rows, planner_rows, returns
from himac.seeding import derive_seed
from himac.types import Group, Task

Selected = tuple[tuple[str, ...], float]
"""z* and its return R(z*): all that phase B needs of phase A, in plain values that a checkpoint can hold."""


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
        proposals = self.sampler.propose(tasks, self.config.plans, derive_seed(at.seed, "plan"), at.env_seed)
        episodes = self.sampler.execute(tasks, proposals, derive_seed(at.seed, "greedy"), at.env_seed, greedy=True)
        groups = [
            Group(f"a{at.iteration}/{n}", t, tuple(e)) for n, (t, e) in enumerate(zip(tasks, episodes, strict=True))
        ]
        rows = [row for group in groups for row in planner_rows(group, self._advantages(group))]
        return PhaseOutcome(rows, groups, [self._select(at, group) for group in groups])

    def micro(self, at: PhaseContext, tasks: Sequence[Task], carry: list[Selected]) -> PhaseOutcome:
        """Phase B, lines 11-14: sampled executions of z*; gradient on executor tokens only."""
        kept = [n for n, (_, value) in enumerate(carry) if value > 0 or not self.config.require_positive]
        chosen = [[Proposal.given(carry[n][0])] * self.config.executions for n in kept]
        episodes = self.sampler.execute([tasks[n] for n in kept], chosen, derive_seed(at.seed, "sample"), at.env_seed)
        groups = [Group(f"b{at.iteration}/{n}", tasks[n], tuple(e)) for n, e in zip(kept, episodes, strict=True)]
        rows = [row for group in groups for row in execution_rows(group, self._advantages(group))]
        return PhaseOutcome(rows, groups)

    def joint(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """Ablation without co-evolution: both phases under the same weights, then one update of both roles."""
        macro = self.macro(at, tasks, None)
        micro = self.micro(at, tasks, macro.carry)
        return PhaseOutcome(macro.rows + micro.rows, macro.groups + micro.groups)

    def _advantages(self, group: Group) -> list[float]:
        """Eq. 2 over the group's trajectories."""
        return [float(a) for a in group_relative(returns(group.episodes), std=self.config.std)]

    def _select(self, at: PhaseContext, group: Group) -> Selected:
        """Eq. 4, z* = argmax R; ties: fewer steps, then fewer sub-goals, then the first."""
        plans = [episode.blueprint.subgoals if episode.blueprint else () for episode in group.episodes]
        order = sorted(
            range(len(plans)), key=lambda n: (-group.episodes[n].ret, group.episodes[n].env_steps, len(plans[n]))
        )
        best = order[0]
        if self.config.blueprint_selection == "random":
            best = derive_seed(at.seed, "select", group.id) % len(plans)
        return plans[best], group.episodes[best].ret
