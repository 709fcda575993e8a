"""Attention over the slot cache: new tokens of many sessions against the keys of each one's own slot.

Rows with one new token share one call over a range of slots; longer rows are handled one by one on a CPU (nothing is
padded, nothing is copied) and in padded batches elsewhere, where launching kernels is what costs.

Shape suffixes: N flattened new tokens, B rows, H query heads, K key/value heads, D head width, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, unflatten
from torch.nn.functional import pad, scaled_dot_product_attention

_QUERY_BLOCK = 256
_LOOP_CALL_COST = 34_000  # one more call costs as much as this many multiply-adds per key, measured on a Xeon core


@dataclass(frozen=True, slots=True)
class NewTokens:
    """One row of a pass: `count` new tokens of `slot` after `cached` ones."""

    slot: int
    cached: int
    count: int


class CausalTable:
    """Additive causal masks as views of one table, whatever the offset of the queries.

    Entry [i, y] is 0 for `y <= i + capacity`, so the columns from `capacity - offset` on are the mask of queries
    that start at `offset`.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._tables: dict[int | None, tuple[int, Tensor]] = {}

    def clear(self) -> None:
        """Drop the tables: their size, and so the layout of the views, is that of the longest context so far."""
        self._tables.clear()

    def view(self, offset: int, queries: int, window: int | None) -> Tensor:
        """Mask [queries, offset + queries] for at most `_QUERY_BLOCK` queries from position `offset` on."""
        capacity, table = self._tables.get(window, (-1, torch.empty(0)))
        if offset > capacity:
            capacity = max(512, 2 * offset)
            distance = torch.arange(_QUERY_BLOCK)[:, None] + capacity - torch.arange(capacity + _QUERY_BLOCK)[None, :]
            hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
            table = torch.zeros(distance.shape, dtype=self._dtype).masked_fill_(hidden, -torch.inf).to(self._device)
            self._tables[window] = (capacity, table)
        return table[:queries, capacity - offset : capacity + queries]


class SlotPlan:
    """An `AttentionPlan` that writes new keys and values to their slots and attends to them there.

    Args:
        storage: [2, S, K, L, D] of each layer, with room for every new token.
        rows: The pass's rows in the order of its tokens; rows of one token come first, ordered by slot.
        batched: Pad rows of several tokens into batches instead of handling them one by one.
    """

    def __init__(
        self, storage: Sequence[Tensor], rows: Sequence[NewTokens], table: CausalTable, *, batched: bool
    ) -> None:
        self._storage, self._table, self._batched = storage, table, batched
        self._singles = [row for row in rows if row.count == 1]
        self._longer = [row for row in rows if row.count > 1]
        device = storage[0].device
        self._lengths = np.array([row.cached + 1 for row in self._singles])
        self._slots = torch.tensor([row.slot for row in self._singles], device=device)
        self._positions = torch.tensor([row.cached for row in self._singles], device=device)
        self._dense: bool | None = None
        self._masks: dict[int | None, Tensor] = {}
        self._buckets: list[_Bucket] | None = None

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, dropout: float
    ) -> Tensor:
        """Write the new keys and values of `layer`, then attend; see `AttentionPlan.attend`."""
        keys, values = self._storage[layer]
        count = len(self._singles)
        outputs = []
        if count:
            keys[self._slots, :, self._positions] = key[0, :, :count].transpose(0, 1)
            values[self._slots, :, self._positions] = value[0, :, :count].transpose(0, 1)
            outputs.append(self._attend_singles(query[:, :, :count], keys, values, scaling, window))
        start = count
        for row in self._longer:
            span, place = slice(start, start + row.count), slice(row.cached, row.cached + row.count)
            keys[row.slot, :, place] = key[0, :, span]
            values[row.slot, :, place] = value[0, :, span]
            start += row.count
        if self._longer and self._batched:
            outputs.append(self._attend_padded(query, keys, values, scaling, window))
        elif self._longer:
            outputs.extend(self._attend_each(query, key, value, keys, values, scaling, window))
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).unsqueeze(0)

    def _attend_singles(
        self, query: Tensor, keys: Tensor, values: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """Map query [1, H, B, D] to [B, H, D]."""
        heads, width = query.shape[1], query.shape[3]
        kv_heads = keys.shape[1]
        grouped = unflatten(query[0].transpose(0, 1), 1, (kv_heads, heads // kv_heads))  # [B, K, H/K, D]
        first, last = self._singles[0].slot, self._singles[-1].slot + 1
        longest = int(self._lengths.max())
        if self._dense is None:
            loop_cost = int(self._lengths.sum()) + len(self._singles) * _LOOP_CALL_COST // (heads * width)
            self._dense = self._batched or (last - first) * longest <= loop_cost
        if not self._dense:
            parts = []
            for index, row in enumerate(self._singles):
                end = row.cached + 1
                begin = 0 if window is None else max(0, end - window)
                span = slice(row.slot, row.slot + 1)
                parts.append(
                    scaled_dot_product_attention(
                        grouped[index : index + 1],
                        keys[span, :, begin:end],
                        values[span, :, begin:end],
                        scale=scaling,
                    )
                )
            return torch.cat(parts).flatten(1, 2)
        count = len(self._singles)
        gathered = self._batched and last - first > 2 * count
        if gathered:
            keys, values = keys.index_select(0, self._slots), values.index_select(0, self._slots)
            rows = torch.arange(count, device=query.device)
        else:
            keys, values, rows = keys[first:last], values[first:last], self._slots - first
        keys, values = keys[:, :, :longest], values[:, :, :longest]
        mask = self._masks.get(window)
        if mask is None:
            mask = self._masks[window] = self._single_mask(keys.shape[0], rows, longest, window, query.dtype)
        if keys.shape[0] == count:
            out = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
            return out.flatten(1, 2)
        spread = grouped.new_zeros(keys.shape[0], *grouped.shape[1:])
        spread[rows] = grouped
        out = scaled_dot_product_attention(spread, keys, values, attn_mask=mask, scale=scaling)
        return out[rows].flatten(1, 2)

    def _single_mask(self, count: int, rows: Tensor, longest: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Additive mask [count, 1, 1, longest]; slots without a row see everything, their output is dropped."""
        lengths = np.full(count, longest)
        lengths[rows.cpu().numpy()] = self._lengths
        end = torch.from_numpy(lengths).to(rows.device)[:, None]
        position = torch.arange(longest, device=rows.device)[None, :]
        hidden = position >= end
        if window is not None:
            hidden |= position < end - window
        mask = torch.zeros(hidden.shape, dtype=dtype, device=rows.device).masked_fill_(hidden, -torch.inf)
        return mask[:, None, None, :]

    def _attend_each(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        keys: Tensor,
        values: Tensor,
        scaling: float,
        window: int | None,
    ) -> list[Tensor]:
        """Outputs [n, H, D] of the rows with several new tokens, without padding or copies."""
        gqa = query.shape[1] != keys.shape[1]
        outputs = []
        start = len(self._singles)
        for row in self._longer:
            q = query[:, :, start : start + row.count]
            if row.cached == 0 and (window is None or row.count <= window):
                span = slice(start, start + row.count)
                out = scaled_dot_product_attention(
                    q, key[:, :, span], value[:, :, span], is_causal=True, scale=scaling, enable_gqa=gqa
                )
                outputs.append(out[0].transpose(0, 1))
            else:
                slot = slice(row.slot, row.slot + 1)
                for begin in range(0, row.count, _QUERY_BLOCK):
                    size = min(_QUERY_BLOCK, row.count - begin)
                    end = row.cached + begin + size
                    out = scaled_dot_product_attention(
                        q[:, :, begin : begin + size],
                        keys[slot, :, :end],
                        values[slot, :, :end],
                        attn_mask=self._table.view(row.cached + begin, size, window),
                        scale=scaling,
                        enable_gqa=gqa,
                    )
                    outputs.append(out[0].transpose(0, 1))
            start += row.count
        return outputs

    def _attend_padded(self, query: Tensor, keys: Tensor, values: Tensor, scaling: float, window: int | None) -> Tensor:
        """Outputs [n, H, D] of the rows with several new tokens, padded to batches of similar length."""
        if self._buckets is None:
            self._buckets = make_buckets(self._longer, len(self._singles), query.device)
        heads, width, kv_heads = query.shape[1], query.shape[3], keys.shape[1]
        result = query.new_empty(query.shape[2] - len(self._singles), heads, width)
        flat = pad(query[0].transpose(0, 1), (0, 0, 0, 0, 0, 1))  # padded queries read a row of zeros at the end
        for bucket in self._buckets:
            longest = bucket.tokens.shape[1]
            # Query heads of one key head join the query axis, so keys need not be repeated.
            q = unflatten(flat[bucket.tokens], 2, (kv_heads, heads // kv_heads)).permute(0, 2, 3, 1, 4).flatten(2, 3)
            mask = bucket.mask(window).repeat(1, heads // kv_heads, 1).unsqueeze(1)
            out = scaled_dot_product_attention(
                q,
                keys.index_select(0, bucket.slots)[:, :, : bucket.room],
                values.index_select(0, bucket.slots)[:, :, : bucket.room],
                attn_mask=mask,
                scale=scaling,
            )
            out = unflatten(out, 2, (heads // kv_heads, longest)).permute(0, 3, 1, 2, 4).flatten(2, 3)
            result[bucket.tokens[bucket.valid] - len(self._singles)] = out[bucket.valid]
        return result


@dataclass(slots=True)
class _Bucket:
    """Rows padded together.

    Attributes:
        tokens: [B, Q] index of each query in the flattened tokens; padding points behind the last one.
        valid: [B, Q], false for padding.
        first: [B] position of each row's first new token.
        room: Longest context of the bucket.
    """

    tokens: Tensor
    valid: Tensor
    slots: Tensor
    first: Tensor
    room: int

    def mask(self, window: int | None) -> Tensor:
        """Boolean [B, Q, room], true where a query sees a key."""
        position = self.first[:, None] + torch.arange(self.tokens.shape[1], device=self.first.device)[None, :]
        distance = position[:, :, None] - torch.arange(self.room, device=self.first.device)[None, None, :]
        seen = distance >= 0
        # Padded queries lie behind the row's last key; they must still see something for the softmax to be finite.
        return seen if window is None else seen & ((distance < window) | ~self.valid[:, :, None])


def make_buckets(rows: Sequence[NewTokens], start: int, device: torch.device) -> list[_Bucket]:
    """Group rows whose lengths differ at most by a factor of two; `start` is the first row's first token."""
    starts = start + np.cumsum([0, *(row.count for row in rows)])
    total = int(starts[-1])
    order = sorted(range(len(rows)), key=lambda index: rows[index].count)
    groups: list[list[int]] = []
    for index in order:
        if groups and rows[index].count <= 2 * rows[groups[-1][0]].count:
            groups[-1].append(index)
        else:
            groups.append([index])
    buckets = []
    for group in groups:
        counts = np.array([rows[index].count for index in group])
        offset = np.arange(counts.max())[None, :]
        valid = offset < counts[:, None]
        tokens = np.where(valid, starts[group][:, None] + offset, total)
        buckets.append(
            _Bucket(
                tokens=torch.from_numpy(tokens).to(device),
                valid=torch.from_numpy(valid).to(device),
                slots=torch.tensor([rows[index].slot for index in group], device=device),
                first=torch.tensor([rows[index].cached for index in group], device=device),
                room=max(rows[index].cached + rows[index].count for index in group),
            )
        )
    return buckets
