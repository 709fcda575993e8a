"""Agent x environment x split -> an episode a task."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.reflexion import ReflexionAgent
from himac.envs.pool import EnvPool
from himac.evaluation.trials import trials
from himac.rollout.episode import Proposal, execute, flat_episode, propose
from himac.rollout.failures import some_sound
from himac.rollout.program import Commands
from himac.rollout.runtime import Runtime
from himac.seeding import derive_seed
from himac.types import Episode, Task

BlueprintSource = Literal["planner", "random", "none"]


def evaluate(
    runtime: Runtime,
    tasks: Sequence[Task],
    *,
    temperature: float = 0.0,
    seed: int = 0,
    blueprints: BlueprintSource = "planner",
    planner: Runtime | None = None,
    planner_temperature: float | None = None,
    on_result: Callable[[Any], None] | None = None,
) -> list[Episode]:
    """Run every task once.

    Args:
        temperature: 0 is greedy planner and greedy executor.
        blueprints: `random` takes well-formed blueprints that ignore the task, `none` a single sub-goal: the task
            itself.
        planner: Another model that writes the blueprints (a control for planner studies).
        planner_temperature: Sampling temperature of the blueprints, by default the same as `temperature`.

    Returns:
        Episodes in the order of the tasks.

    Raises:
        EnvironmentFailureError, EndpointError: the environment or the engine failed in all of them.
    """
    agent, setting = runtime.agent, runtime.setting
    seeds = [task_seed(seed, task) for task in tasks]
    if not runtime.config.engine.can.exact or isinstance(agent, ReflexionAgent):
        runs = [
            trials(
                setting,
                agent,
                task,
                temperature,
                s,
                s % 2**31,
                proposal=None if blueprints == "planner" else given_blueprint(runtime, task, s, blueprints),
            )
            for task, s in zip(tasks, seeds, strict=True)
        ]
        tell = None if on_result is None else (lambda done: on_result(done[-1].episode))
        return some_sound([done[-1].episode for done in runtime.collector.run(runs, tell)])
    if isinstance(agent, FlatAgent):
        flat = [
            flat_episode(setting, agent, task, temperature, s, s % 2**31) for task, s in zip(tasks, seeds, strict=True)
        ]
        return some_sound(runtime.collector.run(flat, on_result))
    if blueprints == "planner":
        source = planner or runtime
        hot = temperature if planner_temperature is None else planner_temperature
        proposals = source.collector.run(_plans(source, tasks, seeds, hot))
    else:
        proposals = [[given_blueprint(runtime, task, s, blueprints)] for task, s in zip(tasks, seeds, strict=True)]
    programs: list[Commands] = [
        execute(setting, agent, task, proposal[0], temperature, s, s % 2**31)
        for task, proposal, s in zip(tasks, proposals, seeds, strict=True)
    ]
    return some_sound(runtime.collector.run(programs, on_result))


def _plans(source: Runtime, tasks: Sequence[Task], seeds: Sequence[int], temperature: float) -> list[Commands]:
    assert isinstance(source.agent, HierarchicalAgent)
    return [
        propose(source.setting, source.agent, task, 1, temperature, s, s % 2**31)
        for task, s in zip(tasks, seeds, strict=True)
    ]


def repeat_seed(seed: int, repeat: int) -> int:
    """Seed of a repeat; the first one is the evaluation's own."""
    return derive_seed(seed, "repeat", repeat) if repeat else seed


def task_seed(seed: int, task: Task) -> int:
    """Seed of a task, whatever else is evaluated."""
    return derive_seed(seed, "eval", task.id)


def given_blueprint(runtime: Runtime, task: Task, seed: int, source: BlueprintSource) -> Proposal:
    """A blueprint that no planner wrote; see `evaluate`."""
    if source == "random":
        return Proposal.given(runtime.benchmark.random_blueprint(task, random.Random(seed)))
    env = runtime.config.env
    with EnvPool(runtime.benchmark.make_env, 0, env.timeout_s, env.max_observation_chars) as pool:
        pool.submit(pool.acquire(), ("reset", task.options, seed % 2**31))
        [(_, start)] = pool.poll(block=True)
    if start.error is not None:
        return Proposal.failed(start.error)
    return Proposal.given((start.info.get("instruction", ""),))


def sample_tasks(tasks: Sequence[Task], count: int | None) -> Sequence[Task]:
    """A fixed sample of a split (the same in every run), in the split's order; all of it when `count` is `None`."""
    if count is None or count >= len(tasks):
        return tasks
    chosen = set(random.Random(0).sample(range(len(tasks)), count))
    return [task for n, task in enumerate(tasks) if n in chosen]
