# ruff: noqa: N803, N806
"""The critic: value heads on the hidden states of the policy.

Shape suffixes: N tokens of a micro-batch, K of them with a value target, H heads, d hidden size, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from himac.algos.losses import value_loss
from himac.training.meter import Meter
from himac.training.packing import MicroBatch
from himac.types import FloatArray, Row

VALUE_FILE = "value_head.safetensors"


class ValueHeads(nn.Module):
    """H linear functions of a hidden state, in float32 whatever the model's type; they start as zero."""

    def __init__(self, model: Any, heads: int) -> None:
        """Heads for a causal language model, on its device."""
        super().__init__()
        output = model.get_output_embeddings().weight
        self.linear = nn.Linear(output.shape[1], heads, device=output.device, dtype=torch.float32)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_Nd: Tensor) -> Tensor:
        """Values [N, H] of hidden states [N, d]; the state before a token is the one that predicts it."""
        with torch.autocast(hidden_Nd.device.type, enabled=False):
            values_NH: Tensor = self.linear(hidden_Nd.float())
        return values_NH


def head_weights(rows: Sequence[Row], heads: int) -> Tensor:
    """Weight of every target of a head, [H]: each head's loss is the mean over the mini-batch's targets, and they add.

    A mean over all heads together would drown a head that is trained on few tokens.
    """
    counts_H = torch.zeros(heads, dtype=torch.float64)
    for row in rows:
        if row.value is not None:
            counts_H += torch.from_numpy(row.value.mask.sum(0))
    return torch.where(counts_H > 0, 1.0 / counts_H.clamp(min=1.0), 0.0)


def batch_value_loss(
    heads: ValueHeads, hidden_Nd: Tensor, batch: MicroBatch, weight_H: Tensor, clip: float | None, meter: Meter
) -> Tensor:
    """The micro-batch's part of the value loss, a scalar.

    Args:
        heads: The critic.
        hidden_Nd: Of the micro-batch; detached when no gradient is to reach the trunk.
        batch: Packed rows with targets.
        weight_H: See `head_weights`.
        clip: See `algos.losses.value_loss`.
        meter: Takes `value_loss`, `value_clip_fraction` and the mean `value`.
    """
    value_KH = heads(hidden_Nd.index_select(0, batch.value_predict_K))
    loss_KH, clipped_KH = value_loss(value_KH, batch.value_target_KH, batch.value_old_KH, clip)
    mask_KH = batch.value_mask_KH
    meter.add("value", value_KH.detach()[mask_KH])
    meter.add("value_clip_fraction", clipped_KH[mask_KH])
    weighted = torch.where(mask_KH, loss_KH, 0.0) * weight_H.to(loss_KH.device, torch.float32)
    loss: Tensor = weighted.sum()
    meter.total("value_loss", loss.detach())
    return loss


def row_values(value_NH: Tensor, batch: MicroBatch) -> list[FloatArray]:
    """Values [N, H] of a micro-batch's positions as one float32 [T, H] a row, each beside the token it precedes."""
    shifted_NH = torch.roll(value_NH, 1, dims=0)
    parts: list[FloatArray] = []
    for part_TH in torch.split(shifted_NH, list(batch.lengths)):
        values_TH = part_TH.float().cpu().numpy().copy()
        values_TH[0] = 0.0
        parts.append(values_TH)
    return parts
