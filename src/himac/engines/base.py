"""The engine interface: token ids in, token ids with log-probabilities out.

Engines advance many requests at once and hand each back as soon as it is finished, so that its episode can go on
while the others are still generating.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from himac.config import Config
from himac.errors import ModelError
from himac.models.policy import Policy, Weights, WeightSync
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

    def tokens(self, vocabulary: int) -> list[int]:
        """The prompt as plain numbers, for a model of so many tokens.

        Raises:
            ModelError: a token is none of the model's.
        """
        ids = [int(token) for token in self.prompt_ids]
        if not ids:
            raise ValueError(f"request {self.id!r} has an empty prompt; give at least one token")
        if min(ids) < 0 or max(ids) >= vocabulary:
            raise ModelError(
                f"Request {self.id!r} holds a token id outside the model's {vocabulary} tokens; "
                "use the tokenizer that belongs to the model."
            )
        return ids


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
        version: Of the weights when the request was submitted; 0 where nobody counts.
    """

    id: Hashable
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]
    text: str
    finished: bool
    billed: tuple[int, int] | None = None
    error: str | None = None
    version: int = 0


class Engine(ABC, WeightSync):
    """Generates and scores; see `tests/conformance` for the behaviour every engine must show.

    What an engine can do stands in its settings (`himac.config.Capabilities`); the rest it refuses here.

    Attributes:
        max_context: Longest context in tokens.
        version: Of the weights, see `WeightSync`.
        totals: A dataclass with what it cost, for the summary of an evaluation; `None` where there is nothing to tell.
    """

    tokenizer: Any
    max_context: int
    version: int = 0
    totals: Any = None

    def __init__(self) -> None:
        self.kept: list[tuple[int, Completion]] = []
        """Finished and to be returned by the next `step`."""

    @classmethod
    @abstractmethod
    def build(cls, config: Config, policy: Policy | None, max_live: int) -> Engine:
        """The engine of a configuration.

        Args:
            policy: Whose weights it samples with; `None` for an engine that brings its own.
            max_live: Most requests under way at once.
        """

    @abstractmethod
    def submit(self, request: GenerateRequest) -> int:
        """Queue a request; returns a number that no other request of this engine has."""

    @abstractmethod
    def step(self) -> list[tuple[int, Completion]]:
        """Advance everything queued by at least one token; return what has finished (maybe nothing) by its number."""

    @abstractmethod
    def release(self, session: Hashable) -> None:
        """The session is over; its cache may be reused, and what is under way is dropped. Unknown ones are ignored."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Submit all and step until all are finished; completions in the order of the requests."""
        numbers = [self.submit(request) for request in requests]
        found: dict[int, Completion] = {}
        try:
            while not found.keys() >= set(numbers):
                found.update(self.step())
        except BaseException:
            self.kept += found.items()  # they may be paid for; `step` returns them
            raise
        self.kept += [(number, completion) for number, completion in found.items() if number not in numbers]
        return [found[number] for number in numbers]

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        temperature: float = 1.0,
        pictures: Sequence[Sequence[Placed]] = (),
    ) -> list[FloatArray]:
        """Log-probability of each token given those before it, float32 [T] a sequence (0 for the first).

        Raises:
            ModelError: the engine tells no log-probabilities.
        """
        raise ModelError("this engine cannot score sequences; set engine.name=local for what needs that")

    def load_weights(self, weights: Weights, version: int) -> None:
        """Take new weights and drop every cache; see `WeightSync`.

        Raises:
            ModelError: the weights are the engine's own.
        """
        raise ModelError("this engine takes no weights; set engine.name=local to train")

    def forget(self) -> None:
        """Drop every cache. With nothing under way, what follows must not depend on anything that came before."""

    def close(self) -> None:
        """End what is under way and give back what is held; further calls do nothing."""


def make_engine(config: Config, policy: Policy | None, max_live: int) -> Engine:
    """The engine that `engine.name` chooses, imported only now; see `Engine.build`.

    Raises:
        ConfigError: its module or class is not there.
    """
    kind: type[Engine] = config.engine.load_factory()
    return kind.build(config, policy, max_live)
