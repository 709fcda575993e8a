"""One request of the local engine while it is under way: its tokens, how the cache names them, where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from himac.engines.base import GenerateRequest
from himac.engines.local.cache import Placement
from himac.models.vision import Piece, processor, rope_positions


@dataclass(slots=True)
class Running:
    """A request under way.

    Attributes:
        serial: Its number, in the order of arrival.
        tokens: Prompt and what was generated.
        limit: Most new tokens.
        version: Of the weights when it was submitted.
        fresh: Given its slot in this step.
        encoded: Leading tokens whose keys are in the slot.
        names: Of the prompt's tokens in the cache: the ids, but for pictures a number of each picture's own.
        rope: Rotary positions [3, prompt] of a prompt with pictures.
    """

    serial: int
    request: GenerateRequest
    tokens: list[int]
    limit: int
    version: int
    prompt_length: int = 0
    stop_ids: frozenset[int] = frozenset()
    placement: Placement | None = None
    fresh: bool = False
    encoded: int = 0
    logprobs: list[float] = field(default_factory=list)
    names: list[int] | None = None
    rope: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """What follows from the request."""
        self.prompt_length = len(self.tokens)
        self.stop_ids = frozenset(self.request.params.stop_token_ids)

    def show(self, model: Any, numbers: dict[str, int]) -> None:
        """Take the request's pictures in.

        Tokens of pictures are named by content, so that a prefix is shared only where its pictures are equal too.

        Args:
            numbers: Of the pictures seen so far; new ones are added.
        """
        pictures = self.request.pictures
        self.names = list(self.tokens)
        for placed in pictures:
            count = processor(model).count(placed.picture)
            if not 0 <= placed.start < placed.end <= len(self.tokens) or placed.end - placed.start != count:
                raise ValueError(
                    f"request {self.request.id!r} gives positions {placed.start} to {placed.end} of "
                    f"{len(self.tokens)} to a picture of {count} tokens"
                )
            # Token ids are not negative, and -1 marks what is empty.
            number = numbers.setdefault(placed.picture.key, -2 - len(numbers))
            self.names[placed.start : placed.end] = [number] * count
        self.rope = rope_positions(model, len(self.tokens), pictures)

    def named(self, start: int) -> list[int]:
        """Names in the cache of the tokens from `start` on."""
        if self.names is None:
            return self.tokens[start:]
        return self.names[start:] + self.tokens[max(start, len(self.names)) :]

    def positions(self, start: int) -> NDArray[np.int64]:
        """Rotary positions of the tokens from `start` on: [n], or [3, n] in a context with pictures."""
        if self.rope is None:
            return np.arange(start, len(self.tokens))
        known = self.rope.shape[1]
        begin = int(self.rope.max()) + 1 - known
        later = np.arange(max(start, known), len(self.tokens)) + begin
        return np.concatenate([self.rope[:, start:], np.broadcast_to(later, (3, len(later)))], axis=1)

    def pieces(self, start: int, at: int) -> list[Piece]:
        """What of pictures lies from `start` on, when that token is number `at` of a pass."""
        return [
            Piece(at + max(p.start - start, 0), p.picture, max(start - p.start, 0), p.end - p.start)
            for p in self.request.pictures
            if p.end > start
        ]
