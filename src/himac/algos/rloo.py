"""Flat RLOO: each trajectory compared with the mean of the others of its task (Ahmadian et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from himac.algos.advantages import rloo
from himac.algos.flat import FlatAlgoConfig, FlatAlgorithm
from himac.rollout.rows import execution_rows, returns
from himac.types import Group, Row


class RlooConfig(FlatAlgoConfig):
    """Flat RLOO: each trajectory compared with the mean of the others of its task."""

    factory = "himac.algos.rloo:Rloo"
    name: Literal["rloo"] = "rloo"


class Rloo(FlatAlgorithm[RlooConfig]):
    """REINFORCE with a leave-one-out baseline over trajectories."""

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """The return above the others' mean is every token's advantage."""
        return [row for group in groups for row in execution_rows(group, rloo(returns(group.episodes)))]
