"""A tiny text benchmark, a byte tokenizer and a scripted engine: agents, rollout and algorithms without a model."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np

from himac.config import Capabilities, EngineConfig
from himac.engines.base import Completion, Engine, GenerateRequest
from himac.models.policy import Weights
from himac.types import Demonstration, DemoSegment, DemoTurn, PromptTexts, Task

COLOURS = ("red", "green", "blue", "gold")


class ColourEnv(gymnasium.Env[str, str]):
    """Say the two colours of the task in order. `boom` raises; anything that is no colour is invalid."""

    observation_space = gymnasium.spaces.Text(200)
    action_space = gymnasium.spaces.Text(50)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.wanted = list((options or {})["colours"])
        self.said: list[str] = []
        return "start", {"instruction": " ".join(self.wanted), "won": False, "overview": "a room"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "boom":
            raise RuntimeError("the toy broke")
        if action not in COLOURS:
            return "Nothing happens.", 0.0, False, False, {"won": False, "invalid": True}
        self.said.append(action)
        won = self.said[-len(self.wanted) :] == self.wanted
        return f"you said {action}", float(won), won, False, {"won": won, "invalid": False}


class RestorableColours(ColourEnv):
    """The colours with snapshots."""

    def clone_state(self) -> tuple[list[str], list[str]]:
        return self.wanted, self.said

    def restore_state(self, state: tuple[list[str], list[str]]) -> None:
        self.wanted, self.said = state


class Hesitant(ColourEnv):
    """Takes another time for each step, in every run."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        time.sleep(random.SystemRandom().random() * 0.004)
        return super().step(action)


class ColourBenchmark:
    name = "colours"
    texts = PromptTexts(planner="Plan.", executor="Act.", flat="Act.")
    reward_scale = 10.0
    worst_step_reward = 0.0

    def splits(self) -> Sequence[str]:
        return ("train", "valid")

    def tasks(self, split: str) -> list[Task]:
        pairs = [(a, b) for a in COLOURS for b in COLOURS if a != b]
        return [Task(f"{a}-{b}", a, {"colours": [a, b]}) for a, b in sorted(pairs)]

    def split_hash(self, split: str) -> str:
        return "toy"

    def make_env(self) -> gymnasium.Env[str, str]:
        return ColourEnv()

    def start_text(self, subgoal: str, overview: str, observation: str) -> str:
        return observation

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        first, second = task.options["colours"]
        segments = (
            DemoSegment(f"say {first}", "start", (DemoTurn(first, f"you said {first}"), DemoTurn(None, "", True))),
            DemoSegment(f"say {second}", f"you said {first}", (DemoTurn(second, f"you said {second}"),)),
        )
        return Demonstration(task, f"{first} {second}", "start", segments, True)

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        return tuple(f"say {rng.choice(COLOURS)}" for _ in range(2))


class ByteTokenizer:
    """One token a byte, 0 is end of text."""

    eos_token = "<eos>"
    eos_token_id = 0
    chat_template = None
    all_special_tokens = ("<eos>",)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        if text == self.eos_token:
            return [0]
        return [byte + 1 for byte in text.encode()]

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return bytes(i - 1 for i in ids if i > 0).decode(errors="replace")


class ScriptedEngine(Engine):
    """Replies by calling a function of the decoded prompt; finishes requests in a shuffled, staggered order."""

    max_context = 4096

    def __init__(self, reply: Callable[[str, GenerateRequest], str], cut: Sequence[str] = ()) -> None:
        super().__init__()
        self.tokenizer = ByteTokenizer()
        self.reply = reply
        self.cut = cut
        self.queue: deque[tuple[int, GenerateRequest]] = deque()
        self.requests: list[GenerateRequest] = []
        self.released: list[Hashable] = []
        self._rng = random.Random(0)

    @classmethod
    def build(cls, config: Any, policy: Any, max_live: int) -> Engine:
        raise NotImplementedError("a script is given, not configured")

    def submit(self, request: GenerateRequest) -> int:
        self.requests.append(request)
        self.queue.append((len(self.requests), request))
        return len(self.requests)

    def step(self) -> list[tuple[int, Completion]]:
        self._rng.shuffle(self.queue)
        done = [self.queue.popleft() for _ in range((len(self.queue) + 1) // 2)]
        return [(number, self._complete(request)) for number, request in done]

    def _complete(self, request: GenerateRequest) -> Completion:
        text = self.reply(self.tokenizer.decode(request.prompt_ids), request)
        finished = text not in self.cut
        ids = [*self.tokenizer.encode(text), *([0] if finished else [])][: request.params.max_new_tokens]
        return Completion(request.id, tuple(ids), (-0.5,) * len(ids), (True,) * len(ids), text, finished)

    def release(self, session: Hashable) -> None:
        self.released.append(session)

    def load_weights(self, weights: Weights, version: int) -> None:
        self.version = version
        self.queue.clear()

    def score(self, sequences: Sequence[Sequence[int]], temperature: float = 1.0, pictures: Any = ()) -> list[Any]:
        return [np.full(len(s), -0.5, dtype=np.float32) for s in sequences]


class ElsewhereConfig(EngineConfig):
    """Settings of an engine that an installed package brings, without the engine."""

    can = Capabilities(abort=True)
    factory = "nowhere:Engine"
    name: Literal["elsewhere"] = "elsewhere"
    speed: int = 1
