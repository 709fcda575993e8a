"""What the methods without a hierarchy share: groups of whole episodes of a flat policy, one update an iteration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import Field, model_validator

from himac.algos.base import Phase, PhaseContext, PhaseOutcome
from himac.algos.groups import other_tasks, sample_groups
from himac.config import AlgoConfig, Trained
from himac.rollout.sampling import FlatSampler
from himac.seeding import derive_seed
from himac.settings import NonNegative, Positive
from himac.types import Episode, Group, Row, Task


class FlatAlgoConfig(AlgoConfig):
    """What the methods without a hierarchy share."""

    trains: ClassVar[Trained] = "flat"
    tasks: Positive = 16
    group_size: Annotated[int, Field(ge=2)] = 8
    resample: NonNegative = 0

    @property
    def episodes(self) -> int:
        return self.tasks * self.group_size

    @property
    def equal_returns_teach(self) -> bool:
        """Whether something can be learned from a group whose returns are all equal."""
        return False

    @model_validator(mode="after")
    def _resample_drops_nothing_of_use(self) -> FlatAlgoConfig:
        if self.resample and self.equal_returns_teach:
            raise ValueError(
                f"resample replaces groups with equal returns, from which {self.name} learns all the same; "
                "set algo.resample=0" + (" or algo.step_weight=0" if self.name == "gigpo" else "")
            )
        return self


C = TypeVar("C", bound=FlatAlgoConfig)


class FlatAlgorithm(ABC, Generic[C]):
    """Samples a group of episodes a task; a method says with `rows` what each token of them is worth."""

    def __init__(self, config: C, sampler: FlatSampler) -> None:
        self.config, self.sampler = config, sampler
        self.tasks_per_iteration = config.tasks

    @property
    def phases(self) -> tuple[tuple[str, Phase], ...]:
        return (("flat", self.flat),)

    def flat(self, at: PhaseContext, tasks: Sequence[Task], carry: Any) -> PhaseOutcome:
        """The one phase."""

        def sample(tasks: Sequence[Task]) -> list[list[Episode]]:
            return self.sampler.rollout(tasks, self.config.group_size, derive_seed(at.seed, "sample"), at.env_seed)

        groups, metrics = sample_groups("", at, tasks, sample, self.config.resample, other_tasks(at, tasks))
        return PhaseOutcome(self.rows(groups), groups, metrics=metrics)

    @abstractmethod
    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """Rows of the update with their advantages."""
