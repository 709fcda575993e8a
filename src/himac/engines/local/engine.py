"""Continuous batching on a plain Hugging Face model: the reference every other engine is compared with."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from himac.config import Config
from himac.engines.base import Completion, Engine, GenerateRequest
from himac.engines.local.cache import SlotCache
from himac.engines.local.running import Running
from himac.engines.local.sampling import choose, uniforms
from himac.engines.local.settings import LocalConfig
from himac.engines.local.slots import CausalTable, NewTokens, SlotPlan
from himac.errors import ModelError
from himac.models.attention import forward_with_plan
from himac.models.forward import evaluating, packed_forward, project, support
from himac.models.memory import free_bytes
from himac.models.policy import Policy, Weights
from himac.models.vision import Piece, forget_pictures, insert
from himac.models.weights import copy_weights
from himac.scene import Placed
from himac.types import FloatArray

_PASS_TOKENS = 8192
_SCORE_TOKENS = 8192
_SCORE_LOGITS = 2**25
_SEED_MASK = 2**64 - 1


class LocalEngine(Engine):
    """Generates and scores with a model in this process.

    Args:
        model: Hugging Face causal language model; shared with the learner if that is wanted.
        tokenizer: Its tokenizer.
        max_slots: Requests advanced together and sessions whose cache is kept.
        max_context: Longest context in tokens; no more than the model's own limit is used.
        cache_prefixes: Copy common prefixes of at least 16 tokens between sessions instead of encoding them again.
        cache_tokens: Tokens whose keys and values are kept, of all sessions together; `None`: what the memory holds.
            Requests that do not fit wait; one under way gives its place up to older ones and is encoded again later.

    Raises:
        ModelError: the cache does not hold a whole context.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_slots: int = 64,
        max_context: int = 2048,
        cache_prefixes: bool = True,
        cache_tokens: int | None = None,
    ) -> None:
        if max_slots < 1 or max_context < 2:
            raise ValueError(f"max_slots must be at least 1 and max_context at least 2, got {max_slots}, {max_context}")
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.max_context = min(max_context, limit) if limit else max_context
        self.max_slots = max_slots
        weight = model.get_input_embeddings().weight
        self._device: torch.device = weight.device
        self._vocabulary: int = weight.shape[0]
        self._serial = 0
        self._queue: list[Running] = []
        self._running: list[Running] = []
        self._busy: set[Hashable] = set()
        self._numbers: dict[str, int] = {}
        self._table = CausalTable(weight.dtype, self._device)
        self._cache: SlotCache | None = None
        self._cache_tokens = cache_tokens
        if cache_tokens is not None and cache_tokens < self.max_context:
            raise ModelError(
                f"engine.cache_tokens={cache_tokens} holds no whole context; set it to the {self.max_context} of "
                "agent.max_context or more"
            )
        found = support(model)
        if found.slots:
            self._cache = SlotCache(
                layers=found.layers,
                kv_heads=found.kv_heads,
                head_dim=found.head_dim,
                max_slots=max_slots,
                max_context=self.max_context,
                dtype=weight.dtype,
                device=self._device,
                share_prefixes=cache_prefixes,
            )

    @classmethod
    def build(cls, config: Config, policy: Policy | None, max_live: int) -> LocalEngine:
        """On the very weights of the policy: what the learner changes is changed here."""
        assert policy is not None
        assert isinstance(config.engine, LocalConfig)
        engine = cls(
            policy.model,
            policy.tokenizer,
            max_slots=max_live,
            max_context=config.agent.max_context,
            cache_tokens=config.engine.cache_tokens,
        )
        engine.version = policy.version
        return engine

    def submit(self, request: GenerateRequest) -> int:
        """Queue a request.

        Raises:
            ModelError: a token is none of the model's.
        """
        if request.session in self._busy:
            raise ValueError(f"session {request.session!r} already has a request under way")
        tokens = request.tokens(self._vocabulary)
        self._serial += 1
        limit = min(request.params.max_new_tokens, self.max_context - len(tokens))
        item = Running(self._serial, request, tokens, limit, self.version)
        if request.pictures:
            item.show(self.model, self._numbers)
        if limit <= 0:
            self.kept.append((item.serial, self._complete(item, finished=False)))
        else:
            self._busy.add(request.session)
            self._queue.append(item)
        return self._serial

    def step(self) -> list[tuple[int, Completion]]:
        """One token for every request under way; those that have finished."""
        done, self.kept = self.kept, []
        if not self._queue and not self._running:
            return done
        with evaluating(self.model), torch.inference_mode():
            self._admit()
            waves: dict[int, list[Running]] = {}
            for item in self._running:
                # Requests of earlier steps carry a placement whose wave is over; they go with the first.
                wave = item.placement.wave if item.fresh and item.placement else 1
                waves.setdefault(wave, []).append(item)
            still: list[Running] = []
            for wave in sorted(waves):
                items = waves[wave]
                sizes = [len(item.tokens) - item.encoded for item in items]
                for batch in _batches(range(len(items)), sizes, _PASS_TOKENS):
                    self._choose_next([items[index] for index in batch], still, done)
            self._running = sorted(still, key=lambda item: item.serial)
            if self._cache is not None:
                self._cache.settle()
        return done

    def release(self, session: Hashable) -> None:
        """Free the session's slot; a request of it still under way is dropped."""
        if session in self._busy:
            self._busy.discard(session)
            self._queue = [item for item in self._queue if item.request.session != session]
            self._running = [item for item in self._running if item.request.session != session]
        if self._cache is not None:
            self._cache.release(session)

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        temperature: float = 1.0,
        pictures: Sequence[Sequence[Placed]] = (),
    ) -> list[FloatArray]:
        """Log-probability of each token given those before it, float32 [T] a sequence (0 for the first)."""
        results: list[FloatArray] = [np.zeros(len(sequence), dtype=np.float32) for sequence in sequences]
        scored = [index for index, sequence in enumerate(sequences) if len(sequence) > 1]
        scale = 1.0 if temperature <= 0 else 1 / temperature
        with evaluating(self.model), torch.no_grad():
            for batch in _batches(scored, [len(sequence) for sequence in sequences], _SCORE_TOKENS):
                rows = [np.asarray(sequences[index], dtype=np.int64) for index in batch]
                shown = [pictures[index] for index in batch] if pictures else []
                for index, values in zip(batch, self._score_rows(rows, scale, shown), strict=True):
                    results[index][1:] = values
        return results

    def load_weights(self, weights: Weights, version: int) -> None:
        """Copy new weights (Hugging Face names) into the model and drop every cache.

        Tensors that already share the model's storage are skipped. Requests under way go on with the new weights.
        """
        copy_weights(self.model, weights)
        self.version = version
        self.forget()

    def forget(self) -> None:
        """Drop every cache; with nothing under way the engine is as new, down to the order of its slots."""
        forget_pictures(self.model)
        self._table.clear()
        if self._cache is not None:
            self._cache.clear()
        for item in self._running:
            item.encoded = 0

    def _admit(self) -> None:
        """Move requests from the queue to slots, oldest first, while there are slots and memory."""
        cache = self._cache
        if cache is None:
            free = self.max_slots - len(self._running)
            self._running += self._queue[:free]
            self._queue = self._queue[free:]
            return
        if cache.empty:
            cache.max_tokens = self._affordable(cache)
        self._preempt(cache)
        longest = max((len(item.tokens) for item in self._running), default=1)
        admitted = list[Running]()
        for item in self._queue:
            wanted = max(longest, len(item.tokens))
            if len(self._running) + len(admitted) >= cache.slots_for(wanted):
                break
            longest = wanted
            admitted.append(item)
        moves = cache.keep(cache.slots_for(longest))
        for item in self._running:
            item.fresh = False
            if item.placement is not None and item.placement.slot in moves:
                item.placement = replace(item.placement, slot=moves[item.placement.slot])
        waiting = {item.request.session for item in self._queue}
        for item in admitted:
            placement = cache.place(item.request.session, np.array(item.named(0), dtype=np.int32), waiting)
            assert placement is not None
            waiting.discard(item.request.session)
            item.placement, item.encoded, item.fresh = placement, placement.reused, True
            self._running.append(item)
        self._queue = self._queue[len(admitted) :]

    def _preempt(self, cache: SlotCache) -> None:
        """Send the youngest requests back to the queue until there is memory for the others."""
        while self._running:
            if len(self._running) <= cache.slots_for(max(len(item.tokens) for item in self._running)):
                return
            item = max(self._running, key=lambda one: one.serial)
            self._running.remove(item)
            assert item.placement is not None
            cache.finish(item.placement.slot)
            item.placement, item.encoded = None, 0
            self._queue.append(item)
            self._queue.sort(key=lambda one: one.serial)

    def _affordable(self, cache: SlotCache) -> int:
        """Tokens that the cache may hold."""
        if self._cache_tokens is not None:
            return self._cache_tokens
        tokens = free_bytes(self._device) // cache.token_bytes
        if tokens < self.max_context:
            raise ModelError(
                f"the free memory holds the keys and values of {tokens} tokens, less than one context; set "
                f"agent.max_context={max(tokens, 2)} or less, or take a smaller model"
            )
        return tokens

    def _choose_next(self, items: list[Running], still: list[Running], done: list[tuple[int, Completion]]) -> None:
        """Encode what is new of each request and choose its next token."""
        if self._cache is None:
            hidden = self._encode_all(items)
        else:
            hidden, items = self._encode_new(items, self._cache)
        count = len(items)
        params = [item.request.params for item in items]
        draws = uniforms(
            np.fromiter((p.seed & _SEED_MASK for p in params), np.uint64, count),
            np.fromiter((len(item.tokens) for item in items), np.uint64, count),
        )
        tokens, logprobs = choose(
            project(self.model, hidden),
            np.fromiter((p.temperature for p in params), np.float32, count),
            np.fromiter((p.top_p for p in params), np.float32, count),
            draws,
        )
        for item, token, logprob in zip(items, tokens.tolist(), logprobs.tolist(), strict=True):
            item.tokens.append(token)
            item.logprobs.append(logprob)
            finished = token in item.stop_ids or self._hit_stop_string(item)
            if not finished and len(item.logprobs) < item.limit:
                still.append(item)
                continue
            self._busy.discard(item.request.session)
            if self._cache is not None and item.placement is not None:
                self._cache.finish(item.placement.slot)
            done.append((item.serial, self._complete(item, finished=finished)))

    def _encode_new(self, items: list[Running], cache: SlotCache) -> tuple[Tensor, list[Running]]:
        """Last hidden state [B, d] of each request through the slot cache, and the requests in that order."""
        placed: list[tuple[Running, NewTokens]] = []
        for item in items:
            assert item.placement is not None
            placed.append((item, NewTokens(item.placement.slot, item.encoded, len(item.tokens) - item.encoded)))
        placed.sort(key=lambda pair: (pair[1].count > 1, pair[1].slot))
        rows = [row for _, row in placed]
        cache.reserve(max(row.cached + row.count for row in rows))
        for item, _ in placed:
            if item.placement is not None and item.fresh:
                cache.copy_prefix(item.placement)
        ids = np.concatenate([item.tokens[row.cached :] for item, row in placed])
        parts = [item.positions(row.cached) for item, row in placed]
        ends = np.cumsum([row.count for row in rows]) - 1
        pieces = list[Piece]()
        if any(part.ndim == 2 for part in parts):
            parts = [np.broadcast_to(part, (3, part.shape[-1])) for part in parts]
            starts = ends + 1 - [row.count for row in rows]
            for (item, row), start in zip(placed, starts.tolist(), strict=True):
                pieces += item.pieces(row.cached, start)
        tokens = self._tensor(ids)
        plan = SlotPlan(cache.storage, rows, self._table, batched=self._device.type != "cpu")
        inputs = insert(self.model, tokens, pieces) if pieces else None
        positions = self._tensor(np.concatenate(parts, axis=-1))
        hidden = forward_with_plan(self.model, tokens, positions, plan, inputs)
        for item, row in placed:
            cache.record(row.slot, row.cached, item.named(row.cached))
            item.encoded = len(item.tokens)
        last = hidden if len(ends) == len(ids) else hidden.index_select(0, self._tensor(ends))
        return last, [item for item, _ in placed]

    def _encode_all(self, items: list[Running]) -> Tensor:
        """Last hidden state [B, d] of each request without a cache, for architectures that cannot use ours."""
        lengths = [len(item.tokens) for item in items]
        ids = self._tensor(np.concatenate([item.tokens for item in items]))
        hidden = packed_forward(self.model, ids, lengths, [item.request.pictures for item in items])
        return hidden.index_select(0, self._tensor(np.cumsum(lengths) - 1))

    def _score_rows(
        self, rows: list[NDArray[np.int64]], scale: float, pictures: Sequence[Sequence[Placed]]
    ) -> Iterator[FloatArray]:
        lengths = [len(row) for row in rows]
        ids = self._tensor(np.concatenate(rows))
        hidden = packed_forward(self.model, ids, lengths, pictures)
        starts = np.cumsum([0, *lengths])
        source = np.concatenate([np.arange(start, start + n - 1) for start, n in zip(starts, lengths, strict=False)])
        values = []
        for index in torch.split(self._tensor(source), max(1, _SCORE_LOGITS // self._vocabulary)):
            logits = project(self.model, hidden.index_select(0, index)).float()
            if scale != 1:
                logits = logits * scale
            chosen = logits.gather(-1, ids[index + 1].unsqueeze(-1)).squeeze(-1)
            values.append(chosen - logits.logsumexp(dim=-1))
        flat = torch.cat(values).cpu().numpy()
        return iter(np.split(flat, np.cumsum([n - 1 for n in lengths])[:-1]))

    def _hit_stop_string(self, item: Running) -> bool:
        stops = item.request.params.stop
        if not stops:
            return False
        # A token is at least one byte and a character at most four, so this many tokens hold any match that the
        # newest token can have completed.
        tail = 4 * max(map(len, stops)) + 8
        text = self._decode(item.tokens[max(item.prompt_length, len(item.tokens) - tail) :])
        return any(stop in text for stop in stops)

    def _complete(self, item: Running, *, finished: bool) -> Completion:
        tokens = tuple(item.tokens[item.prompt_length :])
        return Completion(
            id=item.request.id,
            token_ids=tokens,
            logprobs=tuple(item.logprobs),
            sampled=(True,) * len(tokens),
            text=self._decode(tokens),
            finished=finished,
            version=item.version,
        )

    def _decode(self, tokens: Sequence[int]) -> str:
        if not tokens:
            return ""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values.astype(np.int64, copy=False)).to(self._device)


def _batches(indices: Iterable[int], sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Consecutive groups of indices whose sizes sum to at most `budget` (a larger one goes alone)."""
    batch: list[int] = []
    total = 0
    for index in indices:
        if batch and total + sizes[index] > budget:
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += sizes[index]
    if batch:
        yield batch
