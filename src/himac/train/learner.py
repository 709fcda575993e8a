# ruff: noqa: N803, N806
"""The learner: rows in, new weights and metrics out. It knows nothing of hierarchy, environments or algorithms.

Shape suffixes: R rows, M trained tokens of a micro-batch.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from himac.algos.losses import AggregationMode, KlKind, RatioKind, kl_penalty, policy_loss, row_weights
from himac.engines.local.forward import support
from himac.errors import CheckpointError, ConfigError, TrainingError
from himac.seeding import derive_seed
from himac.train.forward import Precision, TokenScores, autocast, score_tokens
from himac.train.optim import OptimizerKind, ScheduleKind, lr_at, make_optimizer
from himac.train.packing import MicroBatch, check_rows, pack
from himac.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Settings of the update.

    Attributes:
        total_steps: Optimiser steps of the whole run, for `linear` and `cosine` schedules.
        max_grad_norm: Gradients are scaled down to this norm; `None` leaves them alone.
        mini_batches: Optimiser steps an epoch; rows are split evenly among them.
        max_tokens_per_microbatch: Bounds memory; the result does not depend on it.
        dual_clip: See `algos.losses.policy_loss`; `None` is off.
        aggregation_horizon: The constant of `seq-mean-token-sum-norm`.
        kl_coef: beta of eq. 3; 0 needs no reference.
        temperature: Divides the logits; the sampler's.
        precision: `fp32`, `bf16` autocast, or `auto`: bf16 where the hardware has it.
        seed: Of the split into mini-batches.
    """

    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    optimizer: OptimizerKind = "adamw"
    warmup_steps: int = 0
    schedule: ScheduleKind = "constant"
    total_steps: int | None = None
    max_grad_norm: float | None = 1.0
    mini_batches: int = 1
    epochs: int = 1
    max_tokens_per_microbatch: int = 8192
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    ratio: RatioKind = "token"
    aggregation: AggregationMode = "token-mean"
    aggregation_horizon: int | None = None
    kl_kind: KlKind = "k3"
    kl_coef: float = 0.01
    entropy_coef: float = 0.0
    temperature: float = 1.0
    precision: Precision = "fp32"
    seed: int = 0


class Learner:
    """Trains a causal language model on rows.

    Attributes:
        model: The trained model; `update` and `supervised` change it in place.
        reference: Frozen model of the KL penalty, `None` when `kl_coef` is 0.
        steps: Optimiser steps taken.
        updates: Calls of `update` completed.
    """

    def __init__(self, model: Any, config: LearnerConfig, ref_model: Any | None = None) -> None:
        """Take over `model`.

        Args:
            model: Causal language model on its final device.
            config: Settings.
            ref_model: Reference of the KL penalty; by default a copy of `model` as it is now.
        """
        if config.schedule != "constant" and config.total_steps is None:
            raise ConfigError(f"a {config.schedule} schedule needs total_steps; set it or use schedule=constant.")
        if config.aggregation == "seq-mean-token-sum-norm" and config.aggregation_horizon is None:
            raise ConfigError("seq-mean-token-sum-norm needs aggregation_horizon; set it to the longest row's tokens.")
        self.model = model.eval()  # dropout would make sampler and trainer disagree
        self.config = config
        support(model)  # probes the model once, in full precision
        self.device: torch.device = next(model.parameters()).device
        self.optimizer = make_optimizer(
            model, config.optimizer, config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self.reference: Any | None = None
        if config.kl_coef > 0:
            self.set_reference(ref_model)
        self.steps = 0
        self.updates = 0

    def set_reference(self, ref_model: Any | None = None) -> None:
        """Use `ref_model`, or a copy of the present weights, as the frozen reference."""
        reference = copy.deepcopy(self.model) if ref_model is None else ref_model
        self.reference = reference.eval().requires_grad_(False).to(self.device)
        support(self.reference)
        for p in self.reference.parameters():
            p.grad = None

    def update(self, rows: Sequence[Row]) -> dict[str, float]:
        """Epochs of mini-batch steps on the clipped surrogate with KL and entropy terms (eq. 3).

        Returns:
            Metrics. `logprob_gap_*` compares the sampler's log-probabilities with the trainer's on the first
            mini-batch, before its step. Only the names that end in `_s` depend on the clock.

        Raises:
            TrainingError: An input, loss or gradient is not finite; the step that met it changed no weight.
        """
        started = time.perf_counter()
        check_rows(rows)
        trained = [row for row in rows if row.loss_mask.any()]
        meter = _Meter()
        ref_logprobs = self._reference_logprobs(trained) if self.reference is not None else None
        for epoch in range(self.config.epochs):
            for part in self._split(len(trained), epoch):
                reference = None if ref_logprobs is None else [ref_logprobs[i] for i in part]
                self._policy_step([trained[i] for i in part], reference, meter)
        self.updates += 1
        metrics = meter.result()
        metrics["rows"] = float(len(rows))
        metrics["trained_tokens"] = float(sum(int(row.loss_mask.sum()) for row in trained))
        return self._finish(metrics, started)

    def supervised(self, rows: Sequence[Row]) -> dict[str, float]:
        """One step on the cross-entropy of the loss-mask tokens: their mean, weighted by the rows' advantages."""
        started = time.perf_counter()
        check_rows(rows, supervised=True)
        trained = [row for row in rows if row.loss_mask.any()]
        tokens = sum(int(row.loss_mask.sum()) for row in trained)
        total = sum(float(row.advantages[row.loss_mask].sum()) for row in trained)
        meter = _Meter()

        def loss(batch: MicroBatch) -> Tensor:
            scores = score_tokens(self.model, batch, entropy="none")
            meter.add("accuracy", scores.best_M)
            return -(batch.advantage_M * scores.logprob_M).sum() / total

        if total > 0:
            self._step(trained, loss, meter)
        metrics = meter.result() | {"rows": float(len(rows)), "trained_tokens": float(tokens)}
        return self._finish(metrics, started)

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and counters; the weights are saved as a model directory."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            self.steps, self.updates = int(state["steps"]), int(state["updates"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the saved learner state does not fit this run ({error}); resume with the configuration it was "
                "saved with."
            ) from error

    # ---- one optimiser step

    def _policy_step(self, rows: list[Row], ref_logprobs: list[Tensor] | None, meter: _Meter) -> None:
        cfg = self.config
        counts_R = torch.tensor([int(row.loss_mask.sum()) for row in rows])
        weights_R = row_weights(counts_R, cfg.aggregation, horizon=cfg.aggregation_horizon)
        # Rows that cannot move the weights skip the forward pass; they have had their part in the denominators.
        every = ref_logprobs is not None or cfg.entropy_coef != 0
        active = [i for i, row in enumerate(rows) if every or row.advantages[row.loss_mask].any()]
        meter.count("rows_skipped", len(rows) - len(active))
        if not active:
            return
        measure_gap = meter.steps == 0

        def loss(batch: MicroBatch) -> Tensor:
            scores = score_tokens(
                self.model, batch, temperature=cfg.temperature, entropy="grad" if cfg.entropy_coef != 0 else "value"
            )
            chosen = [active[i] for i in batch.indices]
            weight_M = weights_R[chosen].to(self.device, torch.float32)[batch.row_M]
            if measure_gap:
                meter.gap(batch.old_logprob_M - scores.logprob_M.detach())
            ref_M = None if ref_logprobs is None else torch.cat([ref_logprobs[i] for i in chosen])
            return (self._token_loss(batch, scores, ref_M, weight_M, meter) * weight_M).sum()

        self._step([rows[i] for i in active], loss, meter)

    def _token_loss(
        self, batch: MicroBatch, scores: TokenScores, ref_M: Tensor | None, weight_M: Tensor, meter: _Meter
    ) -> Tensor:
        cfg = self.config
        terms = policy_loss(
            scores.logprob_M,
            batch.old_logprob_M,
            batch.advantage_M,
            clip_low=cfg.clip_low,
            clip_high=cfg.clip_high,
            dual_clip=cfg.dual_clip,
            ratio=cfg.ratio,
            row_N=batch.row_M,
        )
        loss_M = terms.loss_N
        meter.total("policy_loss", (loss_M.detach() * weight_M).sum())
        if ref_M is not None:
            kl_M = kl_penalty(scores.logprob_M, ref_M, cfg.kl_kind)
            meter.add("kl", kl_M.detach())
            loss_M = loss_M + cfg.kl_coef * kl_M
        if cfg.entropy_coef != 0:
            loss_M = loss_M - cfg.entropy_coef * scores.entropy_M
        meter.add("entropy", scores.entropy_M.detach())
        meter.add("clip_fraction", terms.clipped_N)
        meter.add("dual_clip_fraction", terms.dual_clipped_N)
        meter.add("approx_kl", -terms.log_ratio_N)
        return loss_M

    def _step(self, rows: list[Row], loss_of: Callable[[MicroBatch], Tensor], meter: _Meter) -> None:
        """Accumulate the gradient over micro-batches, check it, and only then change the weights."""
        self.optimizer.zero_grad()
        try:
            for batch in pack(rows, self.config.max_tokens_per_microbatch, self.device):
                with autocast(self.config.precision, self.device):
                    loss = loss_of(batch)
                if not torch.isfinite(loss):
                    raise TrainingError(_not_finite("loss", self.steps))
                loss.backward()  # type: ignore[no-untyped-call]
                meter.total("loss", loss.detach())
                meter.count("forward_tokens", len(batch.input_ids_N))
            limit = self.config.max_grad_norm
            norm = torch.nn.utils.clip_grad_norm_(self.optimizer.parameters, math.inf if limit is None else limit)
            if not torch.isfinite(norm):
                raise TrainingError(_not_finite("gradient", self.steps))
            cfg = self.config
            lr = lr_at(
                self.steps,
                lr=cfg.lr,
                warmup_steps=cfg.warmup_steps,
                total_steps=cfg.total_steps,
                schedule=cfg.schedule,
            )
            self.optimizer.set_lr(lr)
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad()
        self.steps += 1
        meter.end_step(norm, lr)

    # ---- helpers

    @torch.no_grad()
    def _reference_logprobs(self, rows: list[Row]) -> list[Tensor]:
        """Reference log-probabilities of each row's trained tokens, in the order of `rows`."""
        result: list[Tensor] = [torch.empty(0)] * len(rows)
        for batch in pack(rows, self.config.max_tokens_per_microbatch, self.device):
            with autocast(self.config.precision, self.device):
                scores = score_tokens(self.reference, batch, temperature=self.config.temperature, entropy="none")
            sizes = torch.bincount(batch.row_M, minlength=len(batch.indices)).tolist()
            for index, part in zip(batch.indices, torch.split(scores.logprob_M, sizes), strict=True):
                result[index] = part
        return result

    def _split(self, rows: int, epoch: int) -> list[list[int]]:
        """Row numbers of each mini-batch; shuffled, in a way that depends on the seed and the update only."""
        parts = min(self.config.mini_batches, rows)
        if parts <= 1:
            return [list(range(rows))] if rows else []
        rng = np.random.default_rng(derive_seed(self.config.seed, "mini-batches", self.updates, epoch))
        return [sorted(part.tolist()) for part in np.array_split(rng.permutation(rows), parts)]

    @staticmethod
    def _finish(metrics: dict[str, float], started: float) -> dict[str, float]:
        seconds = time.perf_counter() - started
        metrics["update_s"] = seconds
        metrics["tokens_per_s"] = metrics["forward_tokens"] / max(seconds, 1e-9)
        return metrics


class _Meter:
    """Sums of an update; tensors stay on the device until `result`."""

    def __init__(self) -> None:
        self.steps = 0
        self._totals: dict[str, float | Tensor] = {}
        self._means: dict[str, tuple[float | Tensor, int]] = {}
        self._counts: dict[str, float] = {"forward_tokens": 0.0}
        self._gap_max: list[Tensor] = []
        self._lr = 0.0

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
        self._gap_max.append(gap_M.max())

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


def _not_finite(what: str, step: int) -> str:
    return (
        f"the {what} of optimiser step {step} is not finite and the weights were left as they were; "
        "lower the learning rate or check the rewards."
    )
