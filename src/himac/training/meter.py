# ruff: noqa: N803, N806
"""Figures of one update, summed over its micro-batches and steps. Shape suffix: M tokens of a micro-batch."""

from __future__ import annotations

import torch
from torch import Tensor


class Meter:
    """Sums of an update; tensors stay on the device until `result`."""

    def __init__(self) -> None:
        self.steps = 0
        self._totals: dict[str, float | Tensor] = {}
        self._means: dict[str, tuple[float | Tensor, int]] = {}
        self._counts: dict[str, float] = {"forward_tokens": 0.0}
        self._gap_max: list[Tensor] = []
        self._lr = 0.0
        self._moved: tuple[float | Tensor, int] = (0.0, 0)

    def add(self, name: str, values_M: Tensor) -> None:
        """Token-weighted mean."""
        total, count = self._means.get(name, (0.0, 0))
        self._means[name] = (total + values_M.double().sum(), count + len(values_M))

    def total(self, name: str, value: Tensor) -> None:
        """Summed over the micro-batches of a step, averaged over steps."""
        self._totals[name] = self._totals.get(name, 0.0) + value.double()

    def count(self, name: str, value: int) -> None:
        self._counts[name] = self._counts.get(name, 0.0) + value

    def gap(self, difference_M: Tensor) -> None:
        gap_M = difference_M.abs()
        self.add("logprob_gap_mean", gap_M)
        if len(gap_M):
            self._gap_max.append(gap_M.max())

    def move(self, log_ratio_M: Tensor) -> None:
        """How far the policy is from the one that sampled, at these tokens of the step under way."""
        total, count = self._moved
        ratio_M = log_ratio_M.detach().double()
        self._moved = (total + (ratio_M.exp() - 1.0 - ratio_M).sum(), count + len(ratio_M))

    def moved(self) -> float:
        """The k3 estimate of that KL divergence, a mean over the step's tokens."""
        total, count = self._moved
        self._moved = (0.0, 0)
        return float(total) / max(1, count)

    def end_step(self, grad_norm: Tensor, lr: float) -> None:
        self.total("grad_norm", grad_norm)
        self.steps += 1
        self._lr = lr

    def result(self) -> dict[str, float]:
        metrics = {name: float(total) / max(1, self.steps) for name, total in self._totals.items()}
        metrics |= {name: float(total) / max(1, count) for name, (total, count) in self._means.items()}
        metrics |= self._counts
        if self._gap_max:
            metrics["logprob_gap_max"] = float(torch.stack(self._gap_max).max())
        metrics["optimizer_steps"] = float(self.steps)
        metrics["lr"] = self._lr
        return metrics
