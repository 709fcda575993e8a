"""The engine interface: token ids in, token ids with log-probabilities out.

Engines advance many requests at once and hand each back as soon as it is finished, so that its episode can go on
while the others are still generating.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from himac.scene import Placed
from himac.types import FloatArray


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is decoded.

    Attributes:
        temperature: 0 decodes greedily.
        stop_token_ids: Generation ends with (and includes) the first of these.
        stop: Generation ends as soon as the decoded reply contains one of these strings.
        seed: The request's own random stream; a draw depends on (seed, position) only, not on the batch.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue `prompt_ids`.

    Attributes:
        id: Chosen by the caller, returned with the completion.
        session: Requests of one session extend one another (the turns of a segment); the engine may keep
            its cache between them. Each session has at most one request under way.
        prompt_ids: The whole context, not only what is new.
        pictures: Those in the context; the ids in their places are the model's placeholders.
    """

    id: Hashable
    session: Hashable
    prompt_ids: Sequence[int]
    params: SamplingParams
    pictures: Sequence[Placed] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request.

    Attributes:
        token_ids: New tokens, the stop token included.
        logprobs: Log-probability of each new token under the distribution it was drawn from
            (temperature applied; under greedy decoding: of the unscaled distribution).
        sampled: Per token, true when the policy chose it, false when the engine forced it.
        finished: The reply ended by a stop token or stop string, not by the length cap or context limit.
        billed: Tokens of prompt and reply as a remote endpoint counts them; `None`: the lengths of the sequences.
        error: Why the engine gave the request up; the reply is empty then.
    """

    id: Hashable
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    text: str
    finished: bool
    billed: tuple[int, int] | None = None
    error: str | None = None


class Engine(Protocol):
    """Generates and scores; see `tests/conformance` for the behaviour every engine must show."""

    tokenizer: Any
    max_context: int

    def submit(self, request: GenerateRequest) -> None:
        """Queue a request."""
        ...

    def step(self) -> list[Completion]:
        """Advance everything queued by at least one token; return what has finished (maybe nothing)."""
        ...

    def release(self, session: Hashable) -> None:
        """The session is over; its cache may be reused. Unknown sessions are ignored."""
        ...

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Submit all and step until all are finished; completions in the order of the requests."""
        ...

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        temperature: float = 1.0,
        pictures: Sequence[Sequence[Placed]] = (),
    ) -> list[FloatArray]:
        """Log-probability of each token given those before it, float32 [T] a sequence (0 for the first)."""
        ...

    def load_weights(self, weights: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Take new weights (name -> tensor, Hugging Face names) and drop every cache."""
        ...

    def forget(self) -> None:
        """Drop every cache. With nothing under way, what follows must not depend on anything that came before."""
        ...
