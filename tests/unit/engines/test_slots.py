"""Attention over the slot cache against a softmax written out, on every path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from himac.engines.local.slots import CausalTable, NewTokens, SlotPlan

KV_HEADS, REPEAT, WIDTH, SLOTS, ROOM = 2, 3, 4, 9, 700
SINGLES = [NewTokens(1, 5, 1), NewTokens(2, 0, 1), NewTokens(6, 40, 1)]
LONGER = [NewTokens(0, 0, 7), NewTokens(4, 12, 3), NewTokens(7, 33, 12), NewTokens(3, 0, 300), NewTokens(5, 2, 600)]
ROWS = {
    "neighbours": [NewTokens(slot, 3 * slot + 1, 1) for slot in range(4)],
    "gaps": SINGLES,
    "far apart": [NewTokens(0, 3, 1), NewTokens(8, 600, 1)],
    "longer": LONGER,
    "both": SINGLES + LONGER,
}


def written_out(query: Tensor, keys: Tensor, values: Tensor, cached: int, window: int | None) -> Tensor:
    """[n, H, D] for queries [H, n, D] after `cached` tokens, keys [K, cached + n, D]."""
    keys, values = (x.double().repeat_interleave(REPEAT, 0) for x in (keys, values))
    scores = query.double() @ keys.transpose(1, 2) * 0.3
    for index in range(query.shape[1]):
        position = cached + index
        scores[:, index, position + 1 :] = -torch.inf
        if window is not None:
            scores[:, index, : max(0, position + 1 - window)] = -torch.inf
    return (scores.softmax(-1) @ values).transpose(0, 1)


@pytest.mark.parametrize("window", [None, 6, 320])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("cheap_calls", [False, True])
def test_equals_softmax_written_out(
    rows: str, batched: bool, window: int | None, cheap_calls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both ways of handling single tokens: one masked call over a range of slots, or one call a slot.
    monkeypatch.setattr("himac.engines.local.slots._LOOP_CALL_COST", 0 if cheap_calls else 10**9)
    torch.manual_seed(0)
    chosen = ROWS[rows]
    total = sum(row.count for row in chosen)
    storage = torch.randn(2, 2, SLOTS, KV_HEADS, ROOM, WIDTH)
    before = storage.clone()
    query = torch.randn(1, KV_HEADS * REPEAT, total, WIDTH)
    key, value = torch.randn(1, KV_HEADS, total, WIDTH), torch.randn(1, KV_HEADS, total, WIDTH)
    plan = SlotPlan(storage, chosen, CausalTable(torch.float32, torch.device("cpu")), batched=batched)
    out = plan.attend(1, query, key, value, 0.3, window, 0.0)
    assert out.shape == (1, total, KV_HEADS * REPEAT, WIDTH)
    start = 0
    for row in chosen:
        span = slice(start, start + row.count)
        keys, values = (
            torch.cat([before[1, part, row.slot, :, : row.cached], new[0, :, span]], dim=1)
            for part, new in enumerate((key, value))
        )
        expected = written_out(query[0, :, span], keys, values, row.cached, window)
        assert torch.allclose(out[0, span].double(), expected, atol=1e-5), row
        assert torch.equal(storage[1, 0, row.slot, :, : row.cached + row.count], keys)
        assert torch.equal(storage[1, 1, row.slot, :, : row.cached + row.count], values)
        assert torch.equal(
            storage[1, :, row.slot, :, row.cached + row.count :], before[1, :, row.slot, :, row.cached + row.count :]
        )
        start += row.count
    assert torch.equal(storage[0], before[0])  # other layers are untouched


def test_causal_table_grows_and_keeps_windows_apart() -> None:
    table = CausalTable(torch.float32, torch.device("cpu"))
    for offset, queries, window in ((0, 3, None), (3000, 2, None), (10, 4, 5), (10, 4, None)):
        mask = table.view(offset, queries, window)
        assert mask.shape == (queries, offset + queries)
        for index in range(queries):
            seen = [
                position
                for position in range(offset + queries)
                if position <= offset + index and (window is None or offset + index - position < window)
            ]
            assert torch.nonzero(mask[index] == 0).flatten().tolist() == seen
            assert torch.isneginf(mask[index]).sum() == offset + queries - len(seen)
