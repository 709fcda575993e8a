"""GiGPO (arXiv 2505.10978): trajectories of one task compared with one another, and steps taken in the same state.

`std` and `step_std` `none` make it the paper's "GiGPO without std". Trajectories with equal returns have no
episode-level advantage; their steps can still have one, as in the original: a state from which one of them took longer,
or which one of them met twice, has different discounted returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from himac.algos.flat import FlatAlgoConfig, FlatAlgorithm
from himac.algos.steps import turn_advantages
from himac.rollout.rows import turn_rows
from himac.settings import Discount, StatisticsKind, StdKind
from himac.types import Group, Row


class GigpoConfig(FlatAlgoConfig):
    """GiGPO: as GRPO, and steps taken in the same state compared with one another.

    Both standard deviations `none` is GiGPO without std.
    """

    factory = "himac.algos.gigpo:Gigpo"
    name: Literal["gigpo"] = "gigpo"
    std: StdKind = "population"
    step_std: StdKind = "population"
    gamma: Discount = 0.95
    step_weight: Annotated[float, Field(ge=0)] = 1.0
    similarity: Annotated[float, Field(gt=0, lt=1)] | None = None
    statistics: StatisticsKind = "trajectories"

    @property
    def equal_returns_teach(self) -> bool:
        """Steps are compared besides."""
        return self.step_weight > 0


class Gigpo(FlatAlgorithm[GigpoConfig]):
    """Group-in-group policy optimisation."""

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """A_episode + omega A_step is the advantage of every token of a turn."""
        config = self.config
        return [
            row
            for group in groups
            for row in turn_rows(
                group,
                turn_advantages(
                    group,
                    self.sampler.spec.costs,
                    gamma=config.gamma,
                    weight=config.step_weight,
                    std=config.std,
                    step_std=config.step_std,
                    similarity=config.similarity,
                    statistics=config.statistics,
                ),
            )
        ]
