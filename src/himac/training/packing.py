# ruff: noqa: N803, N806, N815
"""Rows to micro-batches: rows are laid end to end in one flat vector, without padding.

Shape suffixes: R rows, N tokens of all rows, M trained tokens, K tokens with a value target, H value heads. The hidden
state at position i predicts token i + 1, so logits are needed only at the M positions before a trained token:

    input_ids  p p p a a o a      p prompt, a sampled, o observation
    loss_mask  . . . 1 1 . 1
    predict_M      ^ ^   ^        positions whose logits are computed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from himac.errors import TrainingError
from himac.scene import Placed
from himac.types import Row, ValueTargets


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together.

    Attributes:
        indices: Which rows these are, as positions in the packed sequence of rows; length R.
        lengths: Tokens per row, in the order they are laid out; length R, sum N.
        input_ids_N: int64 [N].
        pictures: Those of each row, placed in the row's own positions; length R.
        predict_M: int64 [M], flat positions whose hidden state predicts a trained token.
        target_M: int64 [M], the trained tokens.
        old_logprob_M, advantage_M: float32 [M].
        row_M: int64 [M], the token's row in this micro-batch, in [0, R).
        value_predict_K: int64 [K], flat positions of the states whose value is a target of some head.
        value_mask_KH, value_old_KH, value_target_KH: bool and float32 [K, H], see `ValueTargets`.
    """

    indices: tuple[int, ...]
    lengths: tuple[int, ...]
    input_ids_N: Tensor
    predict_M: Tensor
    target_M: Tensor
    old_logprob_M: Tensor
    advantage_M: Tensor
    row_M: Tensor
    value_predict_K: Tensor
    value_mask_KH: Tensor
    value_old_KH: Tensor
    value_target_KH: Tensor
    pictures: tuple[tuple[Placed, ...], ...] = ()

    def split(self, values_M: Tensor) -> Sequence[Tensor]:
        """One value a trained token, cut into one tensor a row."""
        return torch.split(values_M, torch.bincount(self.row_M, minlength=len(self.indices)).tolist())


def check_rows(rows: Sequence[Row], *, supervised: bool = False, heads: int = 0) -> None:
    """Raise `TrainingError` for a row that would poison the weights.

    Args:
        rows: Rows of an update.
        supervised: Advantages are weights of the tokens; old log-probabilities are not used.
        heads: Value heads of the learner.
    """
    for number, row in enumerate(rows):
        where = f"row {number} (group {row.group_id}, {row.role})"
        length = len(row.input_ids)
        vectors = (row.input_ids, row.loss_mask, row.old_logprobs, row.advantages)
        if length == 0 or any(vector.shape != (length,) for vector in vectors):
            shapes = ", ".join(str(vector.shape) for vector in vectors)
            raise TrainingError(
                f"{where} has vectors of shapes {shapes}; build ids, mask, log-probs and advantages alike."
            )
        if any(not 0 <= placed.start < placed.end <= length for placed in row.pictures):
            raise TrainingError(f"{where} has a picture outside of its {length} tokens; cut rows between pictures.")
        if row.loss_mask.dtype != np.bool_ or row.loss_mask[0]:
            raise TrainingError(f"{where} trains its first token or has a mask that is not boolean; fix the loss mask.")
        if supervised:
            weights = row.advantages[row.loss_mask]
            if not np.isfinite(weights).all() or (weights < 0).any():
                raise TrainingError(f"{where} has a token weight that is negative or not finite; correct the weights.")
            continue
        for name, values in (("advantage", row.advantages), ("sampler log-probability", row.old_logprobs)):
            if not np.isfinite(values[row.loss_mask]).all():
                raise TrainingError(
                    f"{where} has a {name} that is not finite; check the rewards and the sampler, nothing was changed."
                )
        if row.value is not None:
            _check_value(row.value, length, heads, where)


def _check_value(value: ValueTargets, length: int, heads: int, where: str) -> None:
    shape = (length, heads)
    if any(part.shape != shape for part in (value.mask, value.old, value.target)) or not heads:
        raise TrainingError(
            f"{where} has value targets of shape {value.target.shape} where {length} tokens and {heads} value heads "
            "were expected; give the method as many value_heads as its rows have."
        )
    if value.mask.dtype != np.bool_ or value.mask[0].any():
        raise TrainingError(f"{where} has a value target for its first token or a mask that is not boolean; fix it.")
    if not (np.isfinite(value.target[value.mask]).all() and np.isfinite(value.old[value.mask]).all()):
        raise TrainingError(f"{where} has a value target that is not finite; check the rewards, nothing was changed.")


def plan(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Partition row numbers so that each part has at most `max_tokens` tokens.

    Rows are taken longest first, so that rows of one part are of similar length. A row longer than the budget is a
    part of its own: nothing is dropped or cut.
    """
    if max_tokens < 1:
        raise TrainingError(f"the micro-batch budget is {max_tokens} tokens; set it to a positive number.")
    parts: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not parts or lengths[index] > room:
            parts.append([])
            room = max_tokens
        parts[-1].append(index)
        room -= lengths[index]
    return parts


def pack(rows: Sequence[Row], max_tokens: int, device: torch.device | str = "cpu") -> list[MicroBatch]:
    """All rows as micro-batches of at most `max_tokens` tokens (a longer row stands alone)."""
    parts = plan([len(row.input_ids) for row in rows], max_tokens)
    return [_assemble(rows, part, torch.device(device)) for part in parts]


def _assemble(rows: Sequence[Row], part: Sequence[int], device: torch.device) -> MicroBatch:
    chosen = [rows[index] for index in part]
    ids_N = np.concatenate([row.input_ids for row in chosen])
    mask_N = np.concatenate([row.loss_mask for row in chosen])
    trained_M = np.flatnonzero(mask_N)
    row_N = np.repeat(np.arange(len(chosen)), [len(row.input_ids) for row in chosen])
    old_N = np.concatenate([row.old_logprobs for row in chosen])
    advantage_N = np.concatenate([row.advantages for row in chosen])
    heads = max((row.value.mask.shape[1] for row in chosen if row.value is not None), default=0)

    def column(name: str) -> np.ndarray:
        return np.concatenate(
            [np.zeros((len(r.input_ids), heads)) if r.value is None else getattr(r.value, name) for r in chosen]
        )

    value_mask_NH = column("mask").astype(np.bool_)
    valued_K = np.flatnonzero(value_mask_NH.any(-1))

    def tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

    return MicroBatch(
        indices=tuple(part),
        lengths=tuple(len(row.input_ids) for row in chosen),
        input_ids_N=tensor(ids_N, torch.int64),
        predict_M=tensor(trained_M - 1, torch.int64),
        target_M=tensor(ids_N[trained_M], torch.int64),
        old_logprob_M=tensor(old_N[trained_M], torch.float32),
        advantage_M=tensor(advantage_N[trained_M], torch.float32),
        row_M=tensor(row_N[trained_M], torch.int64),
        value_predict_K=tensor(valued_K - 1, torch.int64),
        value_mask_KH=tensor(value_mask_NH[valued_K], torch.bool),
        value_old_KH=tensor(column("old")[valued_K], torch.float32),
        value_target_KH=tensor(column("target")[valued_K], torch.float32),
        pictures=tuple(row.pictures for row in chosen),
    )
