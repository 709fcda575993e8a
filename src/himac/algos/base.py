"""What an algorithm is: a few phases, each of which collects episodes and says which rows to train how.

The trainer updates on the rows, hands the new weights to the generator and only then starts the next phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from himac.types import FloatArray, Group, Row, Task


@dataclass(frozen=True, slots=True)
class PhaseOutcome:
    """What a phase produced.

    Attributes:
        rows: Rows of the update.
        groups: Compared episodes, for metrics.
        carry: What the next phase of this iteration needs in plain values; saved with a checkpoint between phases.
        metrics: Extra figures of the phase.
    """

    rows: list[Row]
    groups: list[Group]
    carry: Any = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PhaseContext:
    """Where in the run a phase stands.

    Attributes:
        seed: Every draw of the policy in this phase derives from it.
        env_seed: The environments'; the same in all phases of an iteration, so that all start from the same states.
        pool: All training tasks, for methods that replace some of the iteration's.
    """

    iteration: int
    seed: int
    env_seed: int = 0
    pool: Sequence[Task] = ()


class Critic(Protocol):
    """State values of the model that is trained; the learner is one when the method has value heads."""

    def values(self, rows: Sequence[Row]) -> list[FloatArray]:
        """Value of the state in which each token was chosen, float32 [T, H] a row (H heads; 0 for the first token)."""
        ...


Phase = Callable[[PhaseContext, Sequence[Task], Any], PhaseOutcome]


class Algorithm(Protocol):
    """Implemented by one short file per algorithm."""

    @property
    def tasks_per_iteration(self) -> int:
        """P: how many tasks an iteration draws."""
        ...

    @property
    def phases(self) -> tuple[tuple[str, Phase], ...]:
        """Names and functions of the phases, in order."""
        ...
