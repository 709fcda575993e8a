"""The key/value cache: one slot a session, prefixes copied between slots, memory grown on demand and within a limit.

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

    `storage` is one [2, S, K, L, D] a layer, so that no more than a layer is there twice while it grows; S and L change
    as needed, S L is at most `max_tokens`. It starts as zeros and only ever holds finite numbers, because attention
    over several slots multiplies masked positions by zero.

    Attributes:
        max_tokens: Positions of all slots together, at least `max_context`; `None` is no limit.
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
        self._limit = max_slots
        self._share = share_prefixes
        self.max_tokens: int | None = None
        self.storage = [torch.zeros(2, 0, kv_heads, 0, head_dim, dtype=dtype, device=device) for _ in range(layers)]
        self._tokens: NDArray[np.int32] = np.full((max_slots, max_context), -1, dtype=np.int32)
        self._lengths: NDArray[np.int64] = np.zeros(max_slots, dtype=np.int64)
        self._states: list[SlotState] = []
        self._slot_of: dict[Hashable, int] = {}
        self._clock = 0

    @property
    def token_bytes(self) -> int:
        """Memory of a position."""
        return 2 * self._layers * self._kv_heads * self._head_dim * self.storage[0].element_size()

    @property
    def empty(self) -> bool:
        """Whether no memory is held."""
        return not self.storage[0].numel()

    def slots_for(self, length: int) -> int:
        """How many sessions there is memory for, if the longest has so many tokens."""
        if self.max_tokens is None:
            return self._max_slots
        return max(1, min(self._max_slots, self.max_tokens // self._rounded(length)))

    def keep(self, slots: int) -> dict[int, int]:
        """Give up all slots but the first so many, of which no more are busy.

        Returns:
            Where busy slots behind them have gone, by their former numbers.
        """
        moves = dict[int, int]()
        for old in range(slots, len(self._states)):
            if not self._states[old].busy:
                self._slot_of.pop(self._states[old].session, None)
                continue
            idle = [index for index, state in enumerate(self._states[:slots]) if not state.busy]
            new = moves[old] = min(idle, key=lambda index: self._states[index].used)
            self._slot_of.pop(self._states[new].session, None)
            self._states[new] = self._states[old]
            self._slot_of[self._states[new].session] = new
            self._tokens[new], self._lengths[new] = self._tokens[old], self._lengths[old]
            if old < self.storage[0].shape[1]:
                for layer in self.storage:
                    layer[:, new] = layer[:, old]
        del self._states[slots:]
        self._lengths[slots:] = 0
        self._limit = slots
        return moves

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
        self._limit = self._max_slots
        self.storage = [layer.new_zeros(2, 0, self._kv_heads, 0, self._head_dim) for layer in self.storage]

    def reserve(self, length: int) -> None:
        """Make room for `length` positions in every slot."""
        _, slots, _, room, _ = self.storage[0].shape
        wanted_slots = slots
        if len(self._states) > slots:
            wanted_slots = min(self._max_slots, max(_FIRST_SLOTS, 2 * slots, len(self._states)))
        wanted_room = room
        if length > room:
            wanted_room = max(length, self._rounded(max(length, room + room // 2)))
        if self.max_tokens is not None and wanted_slots * wanted_room > self.max_tokens:
            longest = max((int(self._lengths[n]) for n, state in enumerate(self._states) if state.busy), default=0)
            least = self._rounded(max(length, longest))
            wanted_slots = max(len(self._states), min(wanted_slots, self.max_tokens // least))
            wanted_room = max(least, min(wanted_room, self.max_tokens // wanted_slots))
        if (wanted_slots, wanted_room) != (slots, room):
            both, kept = min(slots, wanted_slots), min(room, wanted_room)
            for number, layer in enumerate(self.storage):
                changed = layer.new_zeros(2, wanted_slots, self._kv_heads, wanted_room, self._head_dim)
                changed[:, :both, :, :kept] = layer[:, :both, :, :kept]
                self.storage[number] = changed
            self._lengths = np.minimum(self._lengths, wanted_room)

    def _rounded(self, length: int) -> int:
        """Memory grows in chunks, so that it need not grow with every token."""
        return max(length, min(self._max_context, -(-length // _LENGTH_CHUNK) * _LENGTH_CHUNK))

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
        if not free and count < self._limit:
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
            for layer in self.storage:
                layer[:, target, :, :length] = layer[:, source, :, :length]
