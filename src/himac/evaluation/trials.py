"""One task tried once, or several times with a reflection after each failure; what the model was asked is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from himac.agents.reflexion import ReflexionAgent
from himac.engines.base import Completion, SamplingParams
from himac.rollout.episode import Agent, EpisodeSpec, Proposal, run_episode
from himac.rollout.program import Command, Commands, Generate, GenerateMany, Release, Reset, Step
from himac.scene import Content, pictures_in
from himac.seeding import derive_seed
from himac.types import Episode, StopReason, Task


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests to the model and their tokens, as the endpoint counts them where it does."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One attempt at a task.

    Attributes:
        instruction, opening: The task and the first observation, which a reflection needs.
        reflection: What the model wrote after the failure; `None` before, and after the last trial.
    """

    episode: Episode
    spent: Spent = Spent()
    instruction: str = ""
    opening: Content = ""
    reflection: str | None = None


class _GaveUpError(Exception):
    """The engine gave a request up."""


@dataclass(slots=True)
class _Meter:
    """Listens to the commands of a program and their answers."""

    spent: Spent = field(default_factory=Spent)
    instruction: str = ""
    opening: Content = ""
    steps: int = 0

    def follow(self, commands: Commands) -> Generator[Command, Any, Any]:
        """Run the program; ends it with `_GaveUpError` when the engine gave one of its requests up."""
        inner: Any = iter(commands)
        answer: Any = None
        try:
            while True:
                try:
                    command = inner.send(answer)
                except StopIteration as stop:
                    return stop.value
                answer = yield command
                self._heard(command, answer)
        finally:
            inner.close()

    def _heard(self, command: Command, answer: Any) -> None:
        match command:
            case Generate():
                self._asked((command,), (answer,))
            case GenerateMany(requests):
                self._asked(requests, answer)
            case Reset() if answer.error is None:
                self.instruction = answer.info.get("instruction", "")
                self.opening = answer.observation
            case Step() if answer.error is None:
                self.steps += 1

    def _asked(self, requests: Sequence[Generate], answers: Sequence[Completion]) -> None:
        for request, answer in zip(requests, answers, strict=True):
            if answer.billed is not None or answer.token_ids:  # else it was never sent, refused or given up
                self.spent += Spent(1, *(answer.billed or (len(request.prompt_ids), len(answer.token_ids))))
        error = next((answer.error for answer in answers if answer.error is not None), None)
        if error is not None:
            raise _GaveUpError(error)


def trials(
    spec: EpisodeSpec,
    agent: Agent,
    task: Task,
    temperature: float,
    seed: int,
    *,
    proposal: Proposal | None = None,
    past: Sequence[Trial] = (),
    notify: Callable[[int, Trial], None] | None = None,
) -> Generator[Command, Any, tuple[Trial, ...]]:
    """Try a task once; a Reflexion agent tries until it succeeds or `prompting.trials` are used up.

    Every trial starts from the same state, which `seed` says. A trial ends as `engine_error` when the engine gives a
    request up; no further one follows then.

    Args:
        proposal: A blueprint to follow, instead of one by the agent's own planner.
        past: Trials of an interrupted run, to go on from.
        notify: Called with number and trial when one has failed and another follows, and again with its reflection.
    """
    done = list(past)
    budget = agent.config.prompting.trials if isinstance(agent, ReflexionAgent) else 1
    while True:
        number = len(done)
        player: Agent = agent
        if done:
            assert isinstance(agent, ReflexionAgent)
            if done[-1].reflection is None:
                judged = yield from _reflect(spec, agent, done, temperature, derive_seed(seed, "reflect", number))
                done[-1] = judged
                if judged.reflection is None:
                    return tuple(done)
                if notify is not None:
                    notify(number - 1, judged)
            player = agent.remembering([trial.reflection or "" for trial in done])
        own = derive_seed(seed, "trial", number) if number else seed
        attempt = run_episode(spec, player, task, temperature, own, seed, proposal)
        done.append((yield from _trial(spec, task, own, attempt)))
        last = done[-1].episode
        if last.success or last.error is not None or len(done) >= budget:
            return tuple(done)
        if notify is not None:
            notify(number, done[-1])


def _trial(spec: EpisodeSpec, task: Task, seed: int, attempt: Commands) -> Generator[Command, Any, Trial]:
    """The attempt with what it cost; an `engine_error` when the engine gave a request up."""
    started = time.perf_counter()
    meter = _Meter()
    try:
        episode: Episode = yield from meter.follow(attempt)
    except _GaveUpError as error:
        stop = StopReason.ENGINE_ERROR
        episode = Episode(
            task=task,
            seed=seed,
            blueprint=None,
            plan=None,
            segments=(),
            ret=spec.costs.episode_return(0.0, stop, meter.steps, invalid_steps=0),
            stop=stop,
            env_steps=meter.steps,
            wall_s=time.perf_counter() - started,
            error=str(error),
        )
    return Trial(episode, meter.spent, meter.instruction, meter.opening)


def _reflect(
    spec: EpisodeSpec, agent: ReflexionAgent, done: Sequence[Trial], temperature: float, seed: int
) -> Generator[Command, Any, Trial]:
    """The last trial with a reflection, or as an `engine_error` when the engine gave up."""
    last = done[-1]
    episode, most = last.episode, agent.config.prompting.max_tokens
    writer = agent.remembering([trial.reflection or "" for trial in done[:-1]])
    outcome = str(episode.stop).replace("_", " ")
    prompt = writer.reflection_prompt(
        last.instruction, last.opening, episode.turns, outcome, max(spec.max_context - most, 1)
    )
    params = SamplingParams(
        max_new_tokens=most,
        temperature=temperature,
        stop_token_ids=agent.chat.stop_token_ids,
        stop=agent.chat.stop,
        seed=seed,
    )
    session = (episode.task.id, "reflect", seed)
    meter = _Meter()
    try:
        completion: Completion = yield from meter.follow(_ask(Generate(session, prompt, params, pictures_in(prompt))))
    except _GaveUpError as error:
        failed = replace(episode, stop=StopReason.ENGINE_ERROR, error=str(error))
        return replace(last, episode=failed, spent=last.spent + meter.spent)
    yield Release(session)
    return replace(last, spent=last.spent + meter.spent, reflection=writer.parse_reflection(completion.token_ids))


def _ask(request: Generate) -> Generator[Command, Any, Any]:
    return (yield request)
