"""One episode, hierarchical or flat, as a program that yields engine and environment commands."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.recorder import SegmentRecorder
from himac.config import Config
from himac.engines.base import Completion, SamplingParams
from himac.envs.base import Benchmark
from himac.envs.pool import EnvResult
from himac.rollout.program import Clone, Command, Generate, GenerateMany, Release, Reset, Step, program
from himac.rollout.returns import FailureCosts
from himac.scene import Content, pictures_in, plain, retold
from himac.seeding import derive_seed
from himac.types import Blueprint, Boundary, Episode, Role, Segment, StopReason, Task, Turn

Agent = HierarchicalAgent | FlatAgent


@dataclass(frozen=True, slots=True)
class Proposal:
    """A blueprint with the planner's tokens, or without them when it was given.

    Attributes:
        error: Traceback text when the environment failed before planning; its episode ends as `ENV_ERROR`.
        score: The benchmark's own score at the start, that of an episode whose blueprint cannot be executed.
    """

    blueprint: Blueprint
    plan: Segment | None
    error: str | None = None
    score: float | None = None

    @classmethod
    def given(cls, subgoals: tuple[str, ...]) -> Proposal:
        """A blueprint that no planner of this rollout wrote; without sub-goals it is malformed."""
        return cls(Blueprint(tuple(subgoals), None if subgoals else "no sub-goals"), None)

    @classmethod
    def failed(cls, error: str) -> Proposal:
        """No blueprint, because the environment failed before."""
        return cls(Blueprint((), "the environment failed before planning"), None, error)


class Watcher(Protocol):
    """Is told what happens in an episode while it happens."""

    def planned(self, blueprint: Blueprint) -> None:
        """The episode starts to follow this blueprint."""
        ...

    def subgoal(self, text: str) -> None:
        """A sub-goal becomes active."""
        ...

    def turn(self, turn: Turn) -> None:
        """The model has replied and the environment has answered."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """What every episode of a run shares.

    Attributes:
        watcher: Told of every episode's events; `None` outside `himac play`.
    """

    benchmark: Benchmark
    config: Config
    max_context: int
    watcher: Watcher | None = None

    @property
    def costs(self) -> FailureCosts:
        env = self.config.env
        worst = min(self.benchmark.worst_step_reward, 0.0)
        return FailureCosts(worst, env.invalid_penalty, self.config.agent.failure_penalty, env.step_limit)


@dataclass(slots=True)
class World:
    """The environment's side of one episode: last observation, rewards, steps, and whether it is over."""

    spec: EpisodeSpec
    instruction: str = ""
    first: Content = ""
    overview: str = ""
    observation: Content = ""
    anchor: str = ""
    reward_sum: float = 0.0
    score: float | None = None
    steps: int = 0
    invalid_steps: int = 0
    stop: StopReason | None = None
    error: str | None = None
    invalid: bool = False
    started: float = field(default_factory=time.perf_counter)
    _last: str = ""
    _repeats: int = 0

    def reset(self, task: Task, seed: int) -> Generator[Command, Any, None]:
        result: EnvResult = yield Reset(task.options, seed)
        if self.failed(result):
            return
        self.instruction = result.info.get("instruction", "")
        self._see(result)
        self.first = self.observation
        self.overview = result.info.get("overview", "")
        self.score = result.info.get("score")

    def step(self, action: str, max_repeats: int) -> Generator[Command, Any, None]:
        result: EnvResult = yield Step(action)
        if self.failed(result):
            return
        config = self.spec.config
        self.steps += 1
        self.invalid = result.info.get("invalid", False)
        self.invalid_steps += self.invalid
        self._see(result)
        self.score = result.info.get("score")
        reward = self.spec.benchmark.reward_scale * result.reward
        reward += config.env.invalid_penalty if self.invalid else 0.0
        self.reward_sum += reward
        if result.terminated:
            self.stop = StopReason.SUCCESS if result.info.get("won", result.reward > 0) else StopReason.FAILURE
        elif result.truncated or self.steps >= config.env.step_limit:
            self.stop = StopReason.STEP_LIMIT
        elif max_repeats and self._stuck(action) >= max_repeats:
            self.stop = StopReason.FAILURE

    def boundary(self, done: int) -> Generator[Command, Any, tuple[Boundary, ...]]:
        """A point to branch off from, behind `done` segments; none when the environment failed."""
        result: EnvResult = yield Clone()
        if self.failed(result):
            return ()
        kept = {name: getattr(self, name) for name in self.__slots__ if name not in ("spec", "started")}
        return (Boundary(done, kept, result.state),)

    def _see(self, result: EnvResult) -> None:
        self.observation = result.observation
        # A rejected action changes nothing: what the environment says of it names no other state.
        self.anchor = result.info.get("anchor", self.anchor if self.invalid else str(result.observation))

    def start(self, subgoal: str) -> Content:
        """What a segment starts with: the benchmark's words, and the pictures of the last observation."""
        text = self.spec.benchmark.start_text(subgoal, self.overview, plain(self.observation))
        return retold(self.observation, text)

    def _stuck(self, action: str) -> int:
        """How often in a row the same rejected action has been sent."""
        if not self.invalid:
            self._last, self._repeats = "", 0
        elif action == self._last:
            self._repeats += 1
        else:
            self._last, self._repeats = action, 1
        return self._repeats

    def failed(self, result: EnvResult) -> bool:
        """Whether the environment gave no result; the episode is over then."""
        if result.error is None:
            return False
        self.stop, self.error = StopReason.ENV_ERROR, result.error
        self.observation, self.invalid = "", False  # the last answer belongs to another turn
        return True

    def episode(self, task: Task, seed: int, segments: Sequence[Segment], proposal: Proposal | None = None) -> Episode:
        """The record of what has come to its end."""
        stop = self.stop
        assert stop is not None
        return Episode(
            task=task,
            seed=seed,
            blueprint=proposal.blueprint if proposal else None,
            plan=proposal.plan if proposal else None,
            segments=tuple(segments),
            ret=self.spec.costs.episode_return(self.reward_sum, stop, self.steps, self.invalid_steps),
            stop=stop,
            env_steps=self.steps,
            wall_s=time.perf_counter() - self.started,
            error=self.error,
            score=self.score,
        )


@program
def propose(
    spec: EpisodeSpec, agent: HierarchicalAgent, task: Task, count: int, temperature: float, seed: int, env_seed: int
) -> Generator[Command, Any, list[Proposal]]:
    """Sample `count` blueprints for a task (line 4 of Algorithm 1); greedy when the temperature is 0.

    Episodes of one group share `env_seed`, so all start from the same state; `seed` drives the policy's own draws.
    """
    world = World(spec)
    yield from world.reset(task, env_seed)
    if world.error is not None:
        return [Proposal.failed(world.error)] * count
    prompt = agent.planner_prompt(world.instruction, world.first)
    limit = min(agent.config.planner.max_tokens, max(spec.max_context - len(prompt), 0))
    requests = tuple(
        Generate(
            (task.id, "plan", seed, number),
            prompt,
            SamplingParams(
                max_new_tokens=max(limit, 1),
                temperature=temperature,
                stop_token_ids=agent.chat.stop_token_ids,
                stop=agent.chat.stop,
                seed=derive_seed(seed, "plan", number),
            ),
            pictures_in(prompt),
        )
        for number in range(count)
    )
    completions: list[Completion] = yield GenerateMany(requests)
    proposals = []
    for request, completion in zip(requests, completions, strict=True):
        yield Release(request.session)
        recorder = SegmentRecorder(Role.PLANNER, prompt)
        recorder.reply(completion.token_ids, completion.logprobs, completion.sampled, completion.version)
        blueprint = agent.parse_blueprint(completion.token_ids, completion.finished)
        proposals.append(Proposal(blueprint, recorder.segment(), score=world.score))
    return proposals


@program
def execute(
    spec: EpisodeSpec,
    agent: HierarchicalAgent,
    task: Task,
    proposal: Proposal,
    temperature: float,
    seed: int,
    env_seed: int,
    branching: bool = False,
) -> Generator[Command, Any, Episode]:
    """Carry out a blueprint with the executor, sub-goal by sub-goal (lines 6 and 12 of Algorithm 1).

    Args:
        branching: Keep the boundaries between sub-goals.
    """
    world = World(spec, error=proposal.error)
    blueprint = proposal.blueprint
    if spec.watcher is not None:
        spec.watcher.planned(blueprint)
    if proposal.error is not None:
        world.stop = StopReason.ENV_ERROR
    elif not blueprint.valid:
        world.stop, world.score = StopReason.MALFORMED_BLUEPRINT, proposal.score
    else:
        yield from world.reset(task, env_seed)
    return (yield from follow(spec, agent, task, proposal, temperature, seed, world, branching=branching))


def follow(
    spec: EpisodeSpec,
    agent: HierarchicalAgent,
    task: Task,
    proposal: Proposal,
    temperature: float,
    seed: int,
    world: World,
    done: int = 0,
    branching: bool = False,
) -> Generator[Command, Any, Episode]:
    """The sub-goals of a blueprint from number `done` on; the episode has their segments only."""
    segments, boundaries = list[Segment](), list[Boundary]()
    for number, subgoal in enumerate(proposal.blueprint.subgoals[done:], done):
        if world.stop is not None:
            break
        session = (task.id, "exec", seed, number)
        segment = yield from _segment(spec, agent, world, subgoal, temperature, session, derive_seed(seed, number))
        segments.append(segment)
        if branching and world.stop is None and number + 1 < len(proposal.blueprint.subgoals):
            boundaries += yield from world.boundary(number + 1)
    if world.stop is None:
        world.stop = StopReason.PLAN_EXHAUSTED
    episode = world.episode(task, seed, segments, proposal)
    return replace(episode, boundaries=tuple(boundaries)) if boundaries else episode


def _segment(
    spec: EpisodeSpec,
    agent: HierarchicalAgent,
    world: World,
    subgoal: str,
    temperature: float,
    session: tuple[Any, ...],
    seed: int,
) -> Generator[Command, Any, Segment]:
    """The turns spent on one sub-goal, until `<sub_done>`, the budget, a failure keyword or the episode's end."""
    limits = agent.config.executor
    prompt = agent.executor_prompt(subgoal, world.start(subgoal), world.instruction)
    recorder = SegmentRecorder(Role.EXECUTOR, prompt, subgoal)
    if spec.watcher is not None:
        spec.watcher.subgoal(subgoal)
    steps = 0
    while world.stop is None:
        completion = yield from _reply(spec, agent, recorder, limits.max_tokens, temperature, session, seed)
        if completion is None:
            world.stop = StopReason.CONTEXT_LIMIT
            break
        span = recorder.reply(completion.token_ids, completion.logprobs, completion.sampled, completion.version)
        reply = agent.parse_reply(completion.token_ids)
        anchor, reward_before, invalid = world.anchor, world.reward_sum, False
        observation: Content = ""
        if reply.action is not None:
            yield from world.step(reply.action, limits.max_repeats)
            steps += 1
            invalid, observation = world.invalid, world.observation
        reward = world.reward_sum - reward_before
        _told(spec, recorder, Turn(reply.action, observation, reward, invalid, reply.sub_done, *span, anchor))
        if world.stop is None and any(word in plain(observation) for word in limits.failure_keywords):
            world.stop = StopReason.FAILURE_KEYWORD
        if reply.sub_done or world.stop is not None:
            break
        if steps >= limits.step_limit:
            if limits.sub_done:
                world.stop = StopReason.SUBGOAL_BUDGET
            break
        if not completion.finished:
            recorder.given(agent.chat.end_ids)
        recorder.given(agent.executor_turn(observation, subgoal))
    yield Release(session)
    return recorder.segment()


@program
def flat_episode(
    spec: EpisodeSpec, agent: FlatAgent, task: Task, temperature: float, seed: int, env_seed: int
) -> Generator[Command, Any, Episode]:
    """One episode of a policy without hierarchy."""
    world = World(spec)
    session = (task.id, "flat", seed)
    yield from world.reset(task, env_seed)
    limits = agent.limits
    recorder = SegmentRecorder(Role.FLAT, agent.prompt(world.instruction, world.first))
    while world.stop is None:
        completion = yield from _reply(spec, agent, recorder, limits.max_tokens, temperature, session, seed)
        if completion is None:
            world.stop = StopReason.CONTEXT_LIMIT
            break
        span = recorder.reply(completion.token_ids, completion.logprobs, completion.sampled, completion.version)
        action = agent.parse_action(completion.token_ids)
        anchor, reward_before = world.anchor, world.reward_sum
        yield from world.step(action, limits.max_repeats)
        reward = world.reward_sum - reward_before
        _told(spec, recorder, Turn(action, world.observation, reward, world.invalid, False, *span, anchor))
        if world.stop is None:
            if not completion.finished:
                recorder.given(agent.chat.end_ids)
            recorder.given(agent.turn(world.observation, world.instruction))
    yield Release(session)
    return world.episode(task, seed, [recorder.segment()])


@program
def run_episode(
    spec: EpisodeSpec,
    agent: Agent,
    task: Task,
    temperature: float,
    seed: int,
    env_seed: int,
    proposal: Proposal | None = None,
) -> Generator[Command, Any, Episode]:
    """One episode of any agent; one with a hierarchy follows the proposal, by default a blueprint of its own."""
    whole: Any
    if isinstance(agent, FlatAgent):
        whole = flat_episode(spec, agent, task, temperature, seed, env_seed)
    else:
        if proposal is None:
            (proposal,) = yield from propose(spec, agent, task, 1, temperature, seed, env_seed)
        whole = execute(spec, agent, task, proposal, temperature, seed, env_seed)
    episode: Episode = yield from whole
    return episode


def _told(spec: EpisodeSpec, recorder: SegmentRecorder, turn: Turn) -> None:
    """Record a turn and tell the watcher."""
    recorder.turn(turn)
    if spec.watcher is not None:
        spec.watcher.turn(turn)


def _reply(
    spec: EpisodeSpec,
    agent: Agent,
    recorder: SegmentRecorder,
    max_tokens: int,
    temperature: float,
    session: tuple[Any, ...],
    seed: int,
) -> Generator[Command, Any, Completion | None]:
    """One completion, or `None` when the context is full."""
    room = spec.max_context - len(recorder)
    if room <= 0:
        return None
    params = SamplingParams(
        max_new_tokens=min(max_tokens, room),
        temperature=temperature,
        stop_token_ids=agent.chat.stop_token_ids,
        stop=agent.chat.stop,
        seed=derive_seed(seed, len(recorder)),
    )
    completion: Completion = yield Generate(session, tuple(recorder.token_ids), params, tuple(recorder.pictures))
    return completion if completion.token_ids else None
