"""Flat GRPO: whole trajectories of one task compared with one another (eq. 2 and 3 without a hierarchy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from himac.algos.advantages import group_relative
from himac.algos.base import Phase, PhaseContext, PhaseOutcome
from himac.algos.sampling import FlatSampler
from himac.config import GrpoConfig
from himac.rollout.rows import execution_rows, returns
from himac.seeding import derive_seed
from himac.types import Group, Task


class Grpo:
    """Group relative policy optimisation over trajectories."""

    def __init__(self, config: GrpoConfig, sampler: FlatSampler) -> None:
        self.config, self.sampler = config, sampler
        self.tasks_per_iteration = config.tasks

    @property
    def phases(self) -> tuple[tuple[str, Phase], ...]:
        return (("flat", self.flat),)

    def flat(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """Sample a group of trajectories a task; the group-relative return is every token's advantage."""
        episodes = self.sampler.rollout(tasks, self.config.samples, derive_seed(at.seed, "sample"), at.env_seed)
        groups = [
            Group(f"{at.iteration}/{n}", t, tuple(e)) for n, (t, e) in enumerate(zip(tasks, episodes, strict=True))
        ]
        rows = [row for group in groups for row in execution_rows(group, self._advantages(group))]
        return PhaseOutcome(rows, groups)

    def _advantages(self, group: Group) -> list[float]:
        """Eq. 2 over the group's trajectories."""
        return [float(a) for a in group_relative(returns(group.episodes), std=self.config.std)]
