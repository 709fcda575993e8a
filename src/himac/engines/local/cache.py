"""The key/value cache: one slot a session, prefixes copied between slots, memory grown on demand.

Shape suffixes: S slots, K key/value heads, L positions, D head width.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

MIN_PREFIX = 16
_LENGTH_CHUNK = 256
_FIRST_SLOTS = 8


@dataclass(slots=True)
class SlotState:
    """Who holds a slot.

    Attributes:
        session: Owner, or `None` when released; the content stays usable as a prefix.
        busy: A request is under way, so the slot may not be given away.
        used: Time of last use (a counter), for eviction.
        wave: Pass of the current step in which the planned tokens become valid; 0 when they already are.
    """

    session: Hashable | None = None
    busy: bool = False
    used: int = 0
    wave: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a request runs.

    Attributes:
        reused: Leading tokens whose keys are there or will be copied; the rest must be encoded.
        source: Slot to copy the first `reused` tokens from before the pass, or -1.
        wave: Pass of this step in which the request can be encoded.
    """

    slot: int
    reused: int
    source: int
    wave: int


class SlotCache:
    """Keys and values of up to `max_slots` sessions.

    `storage` is [layers, 2, S, K, L, D]; S and L grow as needed. It starts as zeros and only ever holds finite
    numbers, because attention over several slots multiplies masked positions by zero.
    """

    def __init__(
        self,
        *,
        layers: int,
        kv_heads: int,
        head_dim: int,
        max_slots: int,
        max_context: int,
        dtype: torch.dtype,
        device: torch.device,
        share_prefixes: bool,
    ) -> None:
        self._layers, self._kv_heads, self._head_dim = layers, kv_heads, head_dim
        self._max_slots, self._max_context = max_slots, max_context
        self._share = share_prefixes
        self.storage = torch.zeros(layers, 2, 0, kv_heads, 0, head_dim, dtype=dtype, device=device)
        self._tokens: NDArray[np.int32] = np.full((max_slots, max_context), -1, dtype=np.int32)
        self._lengths: NDArray[np.int64] = np.zeros(max_slots, dtype=np.int64)
        self._states: list[SlotState] = []
        self._slot_of: dict[Hashable, int] = {}
        self._clock = 0

    def place(self, session: Hashable, prompt: NDArray[np.int32], waiting: Collection[Hashable]) -> Placement | None:
        """Give the session a slot and find the longest prefix of `prompt` that need not be encoded.

        Args:
            prompt: int32 [T], at least one token; the last is always encoded.
            waiting: Sessions with queued requests; their slots are the last to be taken.

        Returns:
            The placement, or `None` when every slot is busy.
        """
        limit = len(prompt) - 1
        slot = self._slot_of.get(session)
        own = 0 if slot is None else self._common_prefix(slot, prompt, limit)
        source, shared = self._best_source(prompt, limit) if self._share else (-1, 0)
        if slot is None:
            slot = self._take_slot(source, waiting)
            if slot is None:
                return None
            self._slot_of[session] = slot
        state = self._states[slot]
        state.session, state.busy = session, True
        self._touch(slot)
        if source == slot:
            own, shared = max(own, shared), 0
        wave = 1
        if shared >= MIN_PREFIX and shared >= own + MIN_PREFIX:
            wave = self._states[source].wave + 1
            if wave == 1:
                self._copy(source, slot, shared)
                source = -1
            reused = shared
        else:
            source, reused = -1, own
        self._tokens[slot, : len(prompt)] = prompt
        self._lengths[slot] = len(prompt)
        state.wave = wave
        return Placement(slot, reused, source, wave)

    def copy_prefix(self, placement: Placement) -> None:
        """Carry out a copy that had to wait for its source."""
        if placement.source >= 0:
            self._copy(placement.source, placement.slot, placement.reused)

    def record(self, slot: int, start: int, tokens: Sequence[int]) -> None:
        """Note that a pass has written the keys of `tokens` from position `start` on."""
        end = start + len(tokens)
        self._tokens[slot, start:end] = tokens
        self._lengths[slot] = end

    def finish(self, slot: int) -> None:
        """The slot's request is over; the session keeps the slot until it is needed elsewhere."""
        self._states[slot].busy = False
        self._touch(slot)

    def settle(self) -> None:
        """End of a step: everything planned in it is valid now."""
        for state in self._states:
            state.wave = 0

    def release(self, session: Hashable) -> None:
        """Free the session's slot but keep its content for others to copy."""
        slot = self._slot_of.pop(session, None)
        if slot is not None:
            self._states[slot].session = None
            self._states[slot].busy = False

    def clear(self) -> None:
        """Forget what is cached, and with no request under way everything else too.

        Which slot a request gets decides its place in a pass, and that its last bits. So slots, their order of use
        and the shape of the storage must not outlive the work they came from.
        """
        self._lengths[:] = 0
        if any(state.busy for state in self._states):
            return
        self._states.clear()
        self._slot_of.clear()
        self._tokens[:] = -1
        self._clock = 0
        self.storage = self.storage.new_zeros(self._layers, 2, 0, self._kv_heads, 0, self._head_dim)

    def reserve(self, length: int) -> None:
        """Make room for `length` positions in every slot."""
        _, _, slots, _, room, _ = self.storage.shape
        wanted_slots = slots
        if len(self._states) > slots:
            wanted_slots = min(self._max_slots, max(_FIRST_SLOTS, 2 * slots, len(self._states)))
        wanted_room = room
        if length > room:
            chunks = -(-max(length, room + room // 2) // _LENGTH_CHUNK) * _LENGTH_CHUNK
            wanted_room = max(length, min(self._max_context, chunks))
        if (wanted_slots, wanted_room) != (slots, room):
            grown = self.storage.new_zeros(self._layers, 2, wanted_slots, self._kv_heads, wanted_room, self._head_dim)
            grown[:, :, :slots, :, :room] = self.storage
            self.storage = grown

    def _touch(self, slot: int) -> None:
        self._clock += 1
        self._states[slot].used = self._clock

    def _common_prefix(self, slot: int, prompt: NDArray[np.int32], limit: int) -> int:
        length = min(int(self._lengths[slot]), limit)
        differs = self._tokens[slot, :length] != prompt[:length]
        return int(differs.argmax()) if differs.any() else length

    def _best_source(self, prompt: NDArray[np.int32], limit: int) -> tuple[int, int]:
        count = len(self._states)
        if count == 0 or limit < MIN_PREFIX:
            return -1, 0
        candidates = np.flatnonzero(self._tokens[:count, MIN_PREFIX - 1] == prompt[MIN_PREFIX - 1])
        if not len(candidates):
            return -1, 0
        same = self._tokens[candidates, :limit] == prompt[None, :limit]
        lengths = np.where(same.all(axis=1), limit, (~same).argmax(axis=1))
        lengths = np.minimum(lengths, self._lengths[candidates])
        # Of equally long prefixes the one that is ready first: waiting costs a pass.
        waves = np.array([self._states[index].wave for index in candidates])
        best = int(np.lexsort((waves, -lengths))[0])
        return int(candidates[best]), int(lengths[best])

    def _take_slot(self, source: int, waiting: Collection[Hashable]) -> int | None:
        """A free slot, best the one that already holds the prefix, else the least recently used idle one."""
        if source >= 0 and self._states[source].session is None and not self._states[source].busy:
            return source
        count = len(self._states)
        free = [index for index, state in enumerate(self._states) if state.session is None and not state.busy]
        if not free and count < self._max_slots:
            self._states.append(SlotState())
            return count
        if free:
            return min(free, key=lambda index: self._states[index].used)
        idle = [index for index, state in enumerate(self._states) if not state.busy]
        if not idle:
            return None
        victim = min(idle, key=lambda index: (self._states[index].session in waiting, self._states[index].used))
        self._slot_of.pop(self._states[victim].session, None)
        return victim

    def _copy(self, source: int, target: int, length: int) -> None:
        if source != target:
            self.reserve(length)
            self.storage[:, :, target, :, :length] = self.storage[:, :, source, :, :length]
