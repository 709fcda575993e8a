"""Which slot a session gets and how much of its prompt is already there."""

from __future__ import annotations

import numpy as np
import torch

from himac.engines.local.cache import MIN_PREFIX, Placement, SlotCache


def make(max_slots: int = 3, *, share: bool = True) -> SlotCache:
    return SlotCache(
        layers=1,
        kv_heads=1,
        head_dim=2,
        max_slots=max_slots,
        max_context=1000,
        dtype=torch.float32,
        device=torch.device("cpu"),
        share_prefixes=share,
    )


def place(cache: SlotCache, session: str, prompt: range | list[int], waiting: set[str] | None = None) -> Placement:
    placement = cache.place(session, np.array(prompt, dtype=np.int32), waiting or set())
    assert placement is not None
    return placement


def test_a_group_is_encoded_once() -> None:
    cache = make()
    assert place(cache, "a", range(40)) == Placement(slot=0, reused=0, source=-1, wave=1)
    # Same step: b and c wait for a's pass and copy all but the last token, which gives the logits.
    assert place(cache, "b", range(40)) == Placement(slot=1, reused=39, source=0, wave=2)
    assert place(cache, "c", [*range(30), *range(100, 120)]) == Placement(slot=2, reused=30, source=0, wave=2)


def test_a_short_common_prefix_is_not_worth_a_copy() -> None:
    cache = make()
    place(cache, "a", range(40))
    other = [*range(MIN_PREFIX - 1), *range(100, 140)]
    assert place(cache, "b", other) == Placement(slot=1, reused=0, source=-1, wave=1)


def test_sharing_can_be_switched_off() -> None:
    cache = make(share=False)
    place(cache, "a", range(40))
    assert place(cache, "b", range(40)) == Placement(slot=1, reused=0, source=-1, wave=1)


def test_what_is_ready_is_copied_at_once() -> None:
    cache = make()
    cache.reserve(64)
    place(cache, "a", range(40))
    cache.reserve(64)
    cache.storage[0][:, 0, :, :40] = torch.arange(40.0)[:, None]
    cache.settle()
    assert place(cache, "b", range(50)) == Placement(slot=1, reused=40, source=-1, wave=1)
    assert torch.equal(cache.storage[0][:, 1, :, :40], cache.storage[0][:, 0, :, :40])


def test_follow_ups_keep_their_slot_and_rewrites_fall_back() -> None:
    cache = make()
    place(cache, "a", range(20))
    cache.finish(0)
    cache.settle()
    assert place(cache, "a", range(30)).reused == 20
    cache.finish(0)
    cache.settle()
    assert place(cache, "a", [*range(5), 99, 98]) == Placement(slot=0, reused=5, source=-1, wave=1)
    assert place(cache, "b", range(30)).reused == 0  # a's old tail is gone


def test_a_released_slot_is_taken_over_in_place() -> None:
    cache = make()
    for session in "abc":
        place(cache, session, [ord(session), *range(40)])
        cache.settle()
    cache.release("b")
    cache.release("a")
    assert place(cache, "d", [ord("b"), *range(30), 500]) == Placement(slot=1, reused=31, source=-1, wave=1)
    assert place(cache, "e", [7] * 20) == Placement(slot=0, reused=0, source=-1, wave=1)


def test_eviction_prefers_idle_sessions_without_queued_requests() -> None:
    cache = make()
    for session in "abc":
        place(cache, session, [ord(session)] * 20)
        cache.settle()
    assert cache.place("d", np.zeros(5, dtype=np.int32), set()) is None  # all busy
    for slot in range(3):
        cache.finish(slot)
    assert place(cache, "d", [0] * 5, {"a"}).slot == 1  # the least recently used, a, is about to go on
    assert place(cache, "e", [1] * 5, {"a"}).slot == 2
    assert place(cache, "f", [2] * 5, {"a"}).slot == 0


def test_memory_grows_on_demand_and_keeps_its_content() -> None:
    cache = make(max_slots=20)
    assert cache.empty
    place(cache, "a", [1])
    cache.reserve(10)
    assert cache.storage[0].shape == (2, 8, 1, 256, 2)
    cache.storage[0][:, 0, :, :10] = 3.0
    cache.reserve(300)
    assert cache.storage[0].shape[3] == 512
    for index in range(9):
        place(cache, f"s{index}", [index + 5])
    cache.reserve(999)
    assert cache.storage[0].shape == (2, 16, 1, 1000, 2)  # never longer than max_context
    assert torch.all(cache.storage[0][:, 0, :, :10] == 3.0)
    assert torch.all(cache.storage[0][:, 1:] == 0)


def test_clear_forgets_the_content() -> None:
    cache = make()
    place(cache, "a", range(40))
    cache.finish(0)
    cache.settle()
    cache.clear()
    assert place(cache, "a", range(41)).reused == 0


def test_cleared_with_nothing_under_way_it_is_as_new() -> None:
    """Else the slots of what comes next, and with them the order inside a pass, would depend on what came before."""

    def use(cache: SlotCache) -> list[Placement]:
        placed = []
        for session, start in zip("pqr", (7, 100, 7), strict=True):
            placed.append(place(cache, session, range(start, start + 30)))
            cache.reserve(30)
            cache.settle()
        return placed

    expected = use(make())
    cache = make()
    for session in "abc":
        place(cache, session, [ord(session), *range(40)])
        cache.reserve(500)
        cache.settle()
        cache.finish("abc".index(session))
    cache.release("b")  # now the next free slot is the middle one
    cache.clear()
    assert use(cache) == expected
    assert cache.storage[0].shape == (2, 3, 1, 256, 2)


def test_a_request_under_way_keeps_its_slot() -> None:
    cache = make()
    place(cache, "a", range(40))
    place(cache, "b", range(100, 140))
    cache.finish(0)
    cache.settle()
    cache.clear()
    cache.finish(1)
    assert place(cache, "b", range(100, 141)) == Placement(slot=1, reused=0, source=-1, wave=1)


def test_memory_stays_within_its_limit() -> None:
    """1000 positions: 3 slots of 256, or 1 of 512."""
    cache = make(max_slots=5)
    cache.max_tokens = 1000
    assert [cache.slots_for(length) for length in (1, 256, 257, 1000)] == [3, 3, 1, 1]
    cache.keep(cache.slots_for(40))
    for session in "abc":
        place(cache, session, [ord(session)] * 40)
        cache.reserve(40)
        cache.settle()
    assert cache.storage[0].shape[:4:2] == (2, 1)
    assert cache.storage[0].shape[1] * cache.storage[0].shape[3] <= 1000
    for slot in range(3):
        cache.storage[0][:, slot, :, :40] = slot + 1.0
    cache.finish(0)
    cache.finish(1)
    # The third goes on beyond 256 tokens: it moves to the place of the one that was least recently used.
    assert cache.keep(cache.slots_for(300)) == {2: 0}
    cache.reserve(300)
    assert cache.storage[0].shape == (2, 1, 1, 512, 2)
    assert torch.all(cache.storage[0][:, 0, :, :40] == 3.0)
    assert place(cache, "c", [ord("c")] * 41).reused == 40
    cache.finish(0)
    # Short ones again: what lies beyond the new room of a slot is given up.
    cache.record(0, 0, [7] * 500)
    cache.keep(cache.slots_for(100))
    place(cache, "d", [*range(50)])
    place(cache, "e", [*range(100, 200)])
    cache.reserve(100)
    assert cache.storage[0].shape[1] * cache.storage[0].shape[3] <= 1000
    assert place(cache, "c", [7] * 550).reused == 333  # of 3 slots
