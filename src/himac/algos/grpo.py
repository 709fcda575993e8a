"""Flat GRPO: whole trajectories of one task compared with one another (eq. 2 and 3 without a hierarchy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from himac.algos.advantages import group_relative
from himac.algos.flat import FlatAlgoConfig, FlatAlgorithm
from himac.rollout.rows import execution_rows, returns
from himac.settings import StdKind
from himac.types import Group, Row


class GrpoConfig(FlatAlgoConfig):
    """Flat GRPO: whole trajectories of one task compared with one another. HiMAC without its hierarchy."""

    factory = "himac.algos.grpo:Grpo"
    name: Literal["grpo"] = "grpo"
    std: StdKind = "population"


class Grpo(FlatAlgorithm[GrpoConfig]):
    """Group relative policy optimisation over trajectories."""

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """The group-relative return is every token's advantage."""
        return [
            row
            for group in groups
            for row in execution_rows(group, group_relative(returns(group.episodes), self.config.std))
        ]
