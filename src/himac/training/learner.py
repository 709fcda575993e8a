# ruff: noqa: N803, N806
"""The learner: rows in, new weights and metrics out. It knows nothing of hierarchy, environments or algorithms.

Shape suffixes: R rows, M trained tokens of a micro-batch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from himac.algos.losses import kl_penalty, policy_loss, row_weights
from himac.errors import CheckpointError, ConfigError, TrainingError
from himac.models.adapter import adapter_off, dropping, has_adapter
from himac.models.forward import recomputed, support
from himac.models.policy import Policy
from himac.models.vision import freeze_vision
from himac.models.weights import all_finite
from himac.seeding import derive_seed
from himac.training.correction import importance_weights
from himac.training.credit import redistribute
from himac.training.forward import EntropyKind, TokenScores, autocast, deviation, encode, score_tokens
from himac.training.meter import Meter
from himac.training.optim import lr_at, make_optimizer
from himac.training.packing import MicroBatch, check_rows, pack
from himac.training.parts import Part, too_far
from himac.training.settings import LearnerSettings
from himac.training.value import ValueHeads, batch_value_loss, head_weights, row_values
from himac.types import FloatArray, Role, Row

__all__ = ["Learner", "LearnerSettings"]

T = TypeVar("T")

_ALL = ""
"""The part that trains rows of every role."""


class Learner:
    """Trains a policy on rows.

    Attributes:
        policy: What is trained; `update` and `supervised` change its model in place.
        model: The policy's.
        heads: The critic, `None` for methods without one.
        reference: Frozen model of the KL penalty or of `dgpo` credit; `None` when neither is used, and for a policy
            with an adapter, whose reference is the model without it.
        steps: Optimiser steps taken.
        elapsed: Share of the run's budget of environment steps that is spent, for schedules that fall.
    """

    def __init__(self, policy: Policy, config: LearnerSettings, ref_model: Any | None = None) -> None:
        """Take over the policy.

        Args:
            policy: Its model is on its final device.
            config: Settings.
            ref_model: The reference; by default a copy of the model as it is now.
        """
        model = policy.model
        if model.dtype == torch.float16:
            raise ConfigError("float16 loses small gradients in training; set model.dtype=bfloat16 or float32.")
        self.policy = policy
        self.model = model.eval()  # dropout would make sampler and trainer disagree
        self.config = config
        support(model)  # probes the model once, in full precision
        self.device: torch.device = next(model.parameters()).device
        if not has_adapter(model):
            freeze_vision(model, config.freeze_vision)
        self._parts: dict[str, Part] = {}
        part = self._part(_ALL)
        self.optimizer = part.optimizer
        self.heads: ValueHeads | None = None
        if config.value_heads:
            self.heads = ValueHeads(model, config.value_heads)
            critic = list[Tensor](self.heads.parameters())
            group = {"params": critic, "lr_scale": config.value_lr}
            self.optimizer.members["value"] = torch.optim.AdamW([group], config.lr, config.betas, weight_decay=0.0)
            # Clipped on its own: with `value_detach` no error of the heads shrinks the policy's step.
            part.clipped.append(critic)
        self.reference: Any | None = None
        if config.needs_reference:
            self.set_reference(ref_model)
        self.steps = 0
        self.elapsed = 0.0

    @property
    def updates(self) -> int:
        """Calls of `update` completed."""
        return self.policy.version - 1

    def set_reference(self, ref_model: Any | None = None) -> None:
        """Use `ref_model`, or a copy of the present weights, as the frozen reference.

        That of a policy with an adapter is there already.
        """
        if has_adapter(self.model):
            return
        reference = copy.deepcopy(self.model) if ref_model is None else ref_model
        self.reference = reference.eval().requires_grad_(False)
        with self._reference_near():
            support(self.reference.to(self.device))
        for p in self.reference.parameters():
            p.grad = None

    def update(self, rows: Sequence[Row]) -> dict[str, float]:
        """Epochs of mini-batch steps on the clipped surrogate with KL and entropy terms (eq. 3) and the value loss.

        Returns:
            Metrics. `logprob_gap_*` compares the sampler's log-probabilities with the trainer's on the first
            mini-batch, before its step, with a correction on all rows. Only the names that end in `_s` depend on the
            clock.

        Raises:
            TrainingError: An input, loss or gradient is not finite, where the step changed no weight, or the weights
                are not after it.
        """
        started = time.perf_counter()
        cfg = self.config
        check_rows(rows, heads=cfg.value_heads)
        trained = [row for row in rows if row.loss_mask.any() or _valued(row)]
        meter = Meter()
        if cfg.correction != "none":
            trained = self._corrected(trained, meter)
        if cfg.credit == "dgpo":
            trained = self._credited(trained)
        ref_logprobs = self._reference_logprobs(trained) if cfg.kl_coef > 0 else None
        paces = dict[str, float]()
        for role in self._roles(trained):
            chosen = [i for i, row in enumerate(trained) if role in (_ALL, row.role)]
            references = None if ref_logprobs is None else [ref_logprobs[i] for i in chosen]
            paces |= self._epochs(role, [trained[i] for i in chosen], references, meter)
        self.policy.version += 1
        metrics = meter.result() | paces
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
        meter = Meter()

        def loss(batch: MicroBatch) -> Tensor:
            scores = score_tokens(self.model, batch, entropy="none", chunk=self.config.loss_chunk)
            meter.add("accuracy", scores.best_M)
            return -(batch.advantage_M * scores.logprob_M).sum() / total

        if total > 0:
            self._step(trained, loss, meter, self._parts[_ALL])
        metrics = meter.result() | {"rows": float(len(rows)), "trained_tokens": float(tokens)}
        return self._finish(metrics, started)

    @torch.no_grad()
    def values(self, rows: Sequence[Row]) -> list[FloatArray]:
        """Value of the state in which each token was chosen, float32 [T, H] a row; 0 for the first token."""
        heads = self.heads
        assert heads is not None, "this learner has no value heads; the method needs value_heads"
        return self._by_row(rows, lambda batch: row_values(heads(encode(self.model, batch)), batch))

    def reference_logprobs(self, rows: Sequence[Row]) -> list[FloatArray]:
        """Log-probabilities of the trained tokens under the reference, float32 [T] a row; 0 where not trained."""
        return [_spread(row, found) for row, found in zip(rows, self._reference_logprobs(rows), strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Optimisers, value heads and counters; the weights are saved as a model directory."""
        parts = {role: part.state_dict() for role, part in self._parts.items()}
        state = {"parts": parts, "steps": self.steps, "updates": self.updates}
        return state | ({} if self.heads is None else {"heads": self.heads.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            for role, part in state["parts"].items():
                self._part(role).load_state_dict(part)
            if self.heads is not None:
                self.heads.load_state_dict(state["heads"])
            self.steps, self.policy.version = int(state["steps"]), int(state["updates"]) + 1
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the saved learner state does not fit this run ({error}); resume with the configuration it was "
                "saved with."
            ) from error

    # ---- the parts of an update

    def _part(self, role: str) -> Part:
        """What trains the rows of a role, made when first asked for."""
        if role not in self._parts:
            cfg = self.config
            optimizer = make_optimizer(
                self.model, cfg.optimizer, cfg.lr, betas=cfg.betas, weight_decay=cfg.weight_decay
            )
            self._parts[role] = Part(optimizer, [optimizer.parameters])
        return self._parts[role]

    def _roles(self, rows: Sequence[Row]) -> list[str]:
        """What is trained one after another. A critic has one policy, whose rows are all of one role."""
        if not self.config.apart or self.heads is not None:
            return [_ALL]
        present = {row.role for row in rows}
        return [role.value for role in Role if role in present]  # a checkpoint holds plain texts

    def _epochs(self, role: str, rows: list[Row], ref_logprobs: list[Tensor] | None, meter: Meter) -> dict[str, float]:
        """Epochs of mini-batch steps on these rows, until the policy has moved too far; metrics of their pace."""
        cfg, part = self.config, self._part(role)
        own = cfg.of_role(role)
        # A step half as long moves the policy a quarter as far: the target falls with the schedule.
        share = self._scheduled(max(part.steps, cfg.warmup_steps)) / cfg.lr
        target = None if cfg.target_kl is None else cfg.target_kl * share**2
        moved, steps, stopped = 0.0, 0, False
        for epoch in range(own.epochs or cfg.epochs):
            for chosen in self._split(len(rows), epoch, own.mini_batches or cfg.mini_batches):
                reference = None if ref_logprobs is None else [ref_logprobs[i] for i in chosen]
                # The first step is taken in any case: nothing has moved yet.
                limit = target if steps else None
                seen = self._policy_step([rows[i] for i in chosen], reference, meter, part, own.lr_scale, limit)
                if seen is None:
                    continue
                moved, stopped = max(moved, seen), too_far(seen, limit)
                if stopped:
                    break
                steps += 1
            if stopped:
                break
        if target is None:
            return {}
        if steps > 1 or stopped:
            part.adapt(moved, target)
        name = f"/{role}" if role else ""
        return {f"moved{name}": moved, f"rate{name}": part.rate, f"stopped_early{name}": float(stopped)}

    # ---- one optimiser step

    def _policy_step(
        self,
        rows: list[Row],
        ref_logprobs: list[Tensor] | None,
        meter: Meter,
        part: Part,
        lr_scale: float,
        target_kl: float | None,
    ) -> float | None:
        """One step, unless the policy has moved too far before it; says how far, `None` when no row can move it."""
        cfg = self.config
        counts_R = torch.tensor([int(row.loss_mask.sum()) for row in rows])
        weights_R = row_weights(counts_R, cfg.aggregation, horizon=cfg.aggregation_horizon)
        weight_H = head_weights(rows, cfg.value_heads)
        critic_only = self.heads is not None and self.updates < cfg.value_warmup
        # Rows that cannot move the weights skip the forward pass; they have had their part in the denominators.
        every = ref_logprobs is not None or cfg.entropy_coef != 0

        def moves(row: Row) -> bool:
            return _valued(row) or (not critic_only and (every or bool(row.advantages[row.loss_mask].any())))

        active = [i for i, row in enumerate(rows) if moves(row)]
        meter.count("rows_skipped", len(rows) - len(active))
        if not active:
            return None
        measure_gap = meter.steps == 0 and cfg.correction == "none"  # else it is measured on all rows

        def loss(batch: MicroBatch) -> Tensor:
            with torch.set_grad_enabled(not critic_only):
                hidden_Nd = encode(self.model, batch)
            total = torch.zeros((), device=self.device) if critic_only else surrogate(batch, hidden_Nd)
            if self.heads is not None and len(batch.value_predict_K):
                states_Nd = hidden_Nd.detach() if cfg.value_detach else hidden_Nd
                value = batch_value_loss(self.heads, states_Nd, batch, weight_H, cfg.value_clip, meter)
                total = total + cfg.value_coef * value
            return total

        def surrogate(batch: MicroBatch, hidden_Nd: Tensor) -> Tensor:
            entropy: EntropyKind = "grad" if cfg.entropy_coef != 0 else "value"
            scores = score_tokens(
                self.model, batch, hidden_Nd, temperature=cfg.temperature, entropy=entropy, chunk=cfg.loss_chunk
            )
            chosen = [active[i] for i in batch.indices]
            weight_M = weights_R[chosen].to(self.device, torch.float32)[batch.row_M]
            if measure_gap:
                meter.gap(batch.old_logprob_M - scores.logprob_M.detach())
            ref_M = None if ref_logprobs is None else torch.cat([ref_logprobs[i] for i in chosen])
            return (self._token_loss(batch, scores, ref_M, weight_M, meter) * weight_M).sum()

        return self._step([rows[i] for i in active], loss, meter, part, lr_scale, target_kl)

    def _token_loss(
        self, batch: MicroBatch, scores: TokenScores, ref_M: Tensor | None, weight_M: Tensor, meter: Meter
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
        meter.move(terms.log_ratio_N)
        return loss_M

    def _step(
        self,
        rows: list[Row],
        loss_of: Callable[[MicroBatch], Tensor],
        meter: Meter,
        part: Part,
        lr_scale: float = 1.0,
        target_kl: float | None = None,
    ) -> float:
        """Accumulate the gradient over micro-batches, check it, and only then change the weights.

        Returns:
            How far the policy had moved before the step; too far beyond `target_kl` and the step is not taken.
        """
        optimizer = part.optimizer
        optimizer.zero_grad()
        try:
            for batch in pack(rows, self.config.max_tokens_per_microbatch, self.device):
                seed = derive_seed(self.config.seed, "dropout", self.steps, batch.indices[0])
                with dropping(self.model, seed), recomputed(self.model, self.config.gradient_checkpointing):
                    with autocast(self.config.precision, self.device):
                        loss = loss_of(batch)
                    if not torch.isfinite(loss):
                        raise TrainingError(_not_finite("loss", self.steps))
                    loss.backward()  # type: ignore[no-untyped-call]
                optimizer.accumulate()
                meter.total("loss", loss.detach())
                meter.count("forward_tokens", len(batch.input_ids_N))
            moved = meter.moved()
            if too_far(moved, target_kl):
                return moved
            limit = self.config.max_grad_norm
            norms = [torch.nn.utils.clip_grad_norm_(parameters, limit) for parameters in part.clipped]
            if not all(torch.isfinite(norm) for norm in norms):
                raise TrainingError(_not_finite("gradient", self.steps))
            lr = self._scheduled(part.steps) * lr_scale * part.rate
            optimizer.set_lr(lr)
            optimizer.step()
            if not all_finite(parameter for parameters in part.clipped for parameter in parameters):
                raise TrainingError(
                    f"training diverged: the weights are not finite after optimiser step {self.steps}; "
                    "lower the learning rate."
                )
        finally:
            optimizer.zero_grad()
        self.steps += 1
        part.steps += 1
        meter.end_step(norms[0], lr)
        return moved

    # ---- helpers

    def _scheduled(self, step: int) -> float:
        """Learning rate of an optimiser step by warm-up and schedule."""
        cfg = self.config
        return lr_at(
            step,
            lr=cfg.lr,
            warmup_steps=cfg.warmup_steps,
            total_steps=cfg.total_steps,
            elapsed=self.elapsed,
            schedule=cfg.schedule,
        )

    def _by_row(self, rows: Sequence[Row], score: Callable[[MicroBatch], Sequence[T]]) -> list[T]:
        """What `score` says of each row of a micro-batch, in the order of `rows` and the precision of the update."""
        found: dict[int, T] = {}
        for batch in pack(rows, self.config.max_tokens_per_microbatch, self.device):
            with autocast(self.config.precision, self.device):
                found.update(zip(batch.indices, score(batch), strict=True))
        return [found[index] for index in range(len(rows))]

    @torch.no_grad()
    def _logprobs(self, rows: Sequence[Row], model: Callable[[], AbstractContextManager[Any]]) -> list[Tensor]:
        """Log-probabilities of each row's trained tokens under the model that there is inside the context."""
        cfg = self.config

        def score(batch: MicroBatch) -> Sequence[Tensor]:
            with model() as scoring:
                scores = score_tokens(scoring, batch, temperature=cfg.temperature, entropy="none", chunk=cfg.loss_chunk)
            return batch.split(scores.logprob_M)

        return self._by_row(rows, score)

    def _reference_logprobs(self, rows: Sequence[Row]) -> list[Tensor]:
        with self._reference_near():
            return self._logprobs(rows, self._as_reference)

    def _as_reference(self) -> AbstractContextManager[Any]:
        """The frozen model, inside."""
        return nullcontext(self.reference) if self.reference is not None else adapter_off(self.model)

    @contextmanager
    def _reference_near(self) -> Iterator[None]:
        """The reference is on the device of the policy, inside."""
        away = self.reference if self.config.offload_reference else None
        if away is not None:
            away.to(self.device)
        try:
            yield
        finally:
            if away is not None:
                away.to("cpu")

    def _corrected(self, rows: list[Row], meter: Meter) -> list[Row]:
        """The rows as if the present policy had sampled them, their advantages weighted by `training.correction`."""
        cfg, corrected = self.config, list[Row]()
        for row, own_M in zip(rows, self._logprobs(rows, lambda: nullcontext(self.model)), strict=True):
            told_M = torch.from_numpy(row.old_logprobs[row.loss_mask]).to(own_M)
            weight_M = importance_weights(own_M, told_M, cfg.correction, cfg.correction_cap)
            meter.gap(told_M - own_M)
            meter.add("correction_mean", weight_M)
            meter.add("correction_capped", weight_M == cfg.correction_cap)
            advantages = row.advantages * _spread(row, weight_M)
            corrected.append(replace(row, old_logprobs=_spread(row, own_M), advantages=advantages))
        return corrected

    def _credited(self, rows: list[Row]) -> list[Row]:
        """The rows with their advantages redistributed by `training.credit`."""
        cfg = self.config

        def score(batch: MicroBatch) -> Sequence[Tensor]:
            distance_M, entropy_M = deviation(
                self.model, self._as_reference, batch, temperature=cfg.temperature, chunk=cfg.loss_chunk
            )
            moved_M = redistribute(batch.advantage_M, distance_M, entropy_M, batch.row_M, cfg.credit_temperature)
            return batch.split(moved_M)

        with self._reference_near():
            found = self._by_row(rows, score)
        return [replace(row, advantages=_spread(row, moved)) for row, moved in zip(rows, found, strict=True)]

    def _split(self, rows: int, epoch: int, parts: int) -> list[list[int]]:
        """Row numbers of each mini-batch; shuffled, in a way that depends on the seed and the update only."""
        parts = min(parts, rows)
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


def _valued(row: Row) -> bool:
    return row.value is not None and bool(row.value.mask.any())


def _spread(row: Row, values: Tensor) -> FloatArray:
    """One value a trained token as float32 [T], 0 elsewhere."""
    values_T = np.zeros(len(row.input_ids), np.float32)
    values_T[row.loss_mask] = values.cpu().numpy()
    return values_T


def _not_finite(what: str, step: int) -> str:
    return (
        f"training diverged: the {what} of optimiser step {step} is not finite, the weights were left as they were; "
        "lower the learning rate or check the rewards."
    )
