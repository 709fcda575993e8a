"""From tasks to episodes: how tasks, blueprints and seeds become programs for the collector."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.rollout.branch import branch
from himac.rollout.collect import Runner
from himac.rollout.episode import EpisodeSpec, Proposal, execute, flat_episode, propose
from himac.rollout.program import Commands
from himac.seeding import derive_seed
from himac.types import Boundary, Episode, Task


class HierarchicalSampler:
    """Blueprints and their executions for many tasks at once."""

    def __init__(self, spec: EpisodeSpec, agent: HierarchicalAgent, collector: Runner) -> None:
        self.spec, self.agent, self.collector = spec, agent, collector

    def propose(
        self, tasks: Sequence[Task], count: int, seed: int, env_seed: int, greedy: bool = False
    ) -> list[list[Proposal]]:
        """`count` blueprints a task, sampled at the planner's temperature.

        Args:
            seed: Of the policy's draws.
            env_seed: Of the environments: the same number gives every episode of a task the same start.
        """
        temperature = 0.0 if greedy else self.agent.config.planner.temperature
        shared = self.spec, self.agent
        programs = [
            propose(*shared, task, count, temperature, derive_seed(seed, n, task.id), start_seed(env_seed, task))
            for n, task in enumerate(tasks)
        ]
        proposals: list[list[Proposal]] = self.collector.run(programs)
        return proposals

    def execute(
        self,
        tasks: Sequence[Task],
        proposals: Sequence[Sequence[Proposal]],
        seed: int,
        env_seed: int,
        greedy: bool = False,
        branching: bool = False,
    ) -> list[list[Episode]]:
        """One episode for every proposal of every task, on request with the boundaries between its sub-goals.

        Greedy executions are deterministic, so equal blueprints of one task run once and share the result.
        """
        temperature = 0.0 if greedy else self.agent.config.executor.temperature
        shared = self.spec, self.agent
        programs, places = list[Commands](), dict[tuple[int, object], int]()
        for n, (task, candidates) in enumerate(zip(tasks, proposals, strict=True)):
            for m, proposal in enumerate(candidates):
                key = (n, proposal.blueprint.subgoals if greedy else m)
                if key not in places:
                    places[key] = len(programs)
                    run_seed = derive_seed(seed, n, task.id, places[key])
                    start = start_seed(env_seed, task)
                    programs.append(execute(*shared, task, proposal, temperature, run_seed, start, branching))
        done: list[Episode] = self.collector.run(programs)
        return [
            [
                _with_plan(done[places[n, proposal.blueprint.subgoals if greedy else m]], proposal)
                for m, proposal in enumerate(candidates)
            ]
            for n, candidates in enumerate(proposals)
        ]

    def branch(self, starts: Sequence[tuple[Episode, Boundary]], seed: int, env_seed: int) -> list[Episode]:
        """One more end for each start, with the whole episode as its record; `env_seed` is that of the starts."""
        programs = []
        for number, (episode, boundary) in enumerate(starts):
            assert episode.blueprint is not None
            walked = [turn for part in episode.segments[: boundary.done] for turn in part.turns]
            programs.append(
                branch(
                    self.spec,
                    self.agent,
                    episode.task,
                    Proposal(episode.blueprint, None),
                    boundary,
                    walked if boundary.state is None else (),
                    self.agent.config.executor.temperature,
                    derive_seed(seed, number, episode.task.id),
                    start_seed(env_seed, episode.task),
                )
            )
        ends: list[Episode] = self.collector.run(programs)
        return [
            replace(
                end,
                blueprint=episode.blueprint,
                plan=episode.plan,
                segments=episode.segments[: boundary.done] + end.segments,
                shared=boundary.done,
            )
            for end, (episode, boundary) in zip(ends, starts, strict=True)
        ]

    def score(
        self,
        tasks: Sequence[Task],
        proposals: Sequence[Sequence[Proposal]],
        seed: int,
        env_seed: int,
        executions: int = 0,
    ) -> list[list[Episode]]:
        """One episode for every proposal, with its R(z): the greedy execution, or one for `executions` sampled ones."""
        if not executions:
            return self.execute(tasks, proposals, seed, env_seed, greedy=True)
        copies = [[proposal for proposal in candidates for _ in range(executions)] for candidates in proposals]
        done = self.execute(tasks, copies, seed, env_seed)
        return [
            [_mean(episodes[start : start + executions]) for start in range(0, len(episodes), executions)]
            for episodes in done
        ]


class FlatSampler:
    """Whole episodes of a flat policy."""

    def __init__(self, spec: EpisodeSpec, agent: FlatAgent, collector: Runner) -> None:
        self.spec, self.agent, self.collector = spec, agent, collector

    def rollout(
        self, tasks: Sequence[Task], count: int, seed: int, env_seed: int, greedy: bool = False
    ) -> list[list[Episode]]:
        """`count` episodes a task."""
        temperature = 0.0 if greedy else self.agent.limits.temperature
        shared = self.spec, self.agent
        programs = [
            flat_episode(*shared, task, temperature, derive_seed(seed, n, task.id, m), start_seed(env_seed, task))
            for n, task in enumerate(tasks)
            for m in range(count)
        ]
        done: list[Episode] = self.collector.run(programs)
        return [done[n * count : (n + 1) * count] for n in range(len(tasks))]


def start_seed(env_seed: int, task: Task) -> int:
    """Seed of a task's environment: shared by all its episodes of an iteration, so that they start alike."""
    return derive_seed(env_seed, task.id)


def _mean(executions: Sequence[Episode]) -> Episode:
    """The first execution in which the environment did not fail, with the mean return of all such ones."""
    kept = [episode for episode in executions if not episode.broken] or executions[:1]
    solved = statistics.fmean(episode.success for episode in kept)
    return replace(kept[0], ret=statistics.fmean(episode.ret for episode in kept), solved=solved)


def _with_plan(episode: Episode, proposal: Proposal) -> Episode:
    """The shared episode of equal blueprints, with this proposal's own planner tokens."""
    return replace(episode, blueprint=proposal.blueprint, plan=proposal.plan)
