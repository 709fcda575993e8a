"""What is trained on its own: the rows of one role, or all of them, with an optimiser state and a pace of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from himac.training.optim import OptimizerSet

# Of the learning rate after an update: the policy moved further than its target, or less than a third of it.
_SLOWER, _FASTER = 1 / 1.5, 1.1
_SLOWEST, _FASTEST = 0.05, 4.0
_PATIENCE = 1.5


@dataclass(slots=True)
class Part:
    """One optimiser over the weights.

    Attributes:
        clipped: Parameters whose gradients are clipped together.
        steps: Taken by this optimiser; the learning rate's warm-up and fall count these.
        rate: Factor on the learning rate, see `adapt`.
    """

    optimizer: OptimizerSet
    clipped: list[list[Tensor]] = field(default_factory=list)
    steps: int = 0
    rate: float = 1.0

    def adapt(self, moved: float, target: float) -> None:
        """Fit the learning rate to how far an update has moved the policy, as a KL divergence.

        A third slower where it moved further than the target, a tenth faster where it moved less than a third of it.
        """
        if moved > target:
            self.rate = max(self.rate * _SLOWER, _SLOWEST)
        elif moved < target / 3:
            self.rate = min(self.rate * _FASTER, _FASTEST)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps, "rate": self.rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.rate = int(state["steps"]), float(state["rate"])


def too_far(moved: float, target: float | None) -> bool:
    """Whether an update ends before its next step: the policy has moved half as far again as its target."""
    return target is not None and moved > _PATIENCE * target
