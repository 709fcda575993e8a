"""Agent x environment x split -> an episode a task."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.reflexion import ReflexionAgent
from himac.envs.pool import EnvPool
from himac.evaluation.trials import trials
from himac.rollout.episode import Proposal, propose, run_episode
from himac.rollout.failures import some_sound
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
    on_result: Callable[[Any], None] | None = None,
) -> list[Episode]:
    """Run every task once.

    Args:
        temperature: 0 is greedy planner and greedy executor.
        blueprints: `random` takes well-formed blueprints that ignore the task, `none` a single sub-goal: the task
            itself.
        planner: Another model that writes the blueprints (a control for planner studies), at its own temperature.

    Returns:
        Episodes in the order of the tasks.

    Raises:
        EnvironmentFailureError, EndpointError: the environment or the engine failed in all of them.
    """
    agent, spec = runtime.agent, runtime.spec
    seeds = [task_seed(seed, task) for task in tasks]
    proposals: Sequence[Proposal | None]
    if planner is not None:
        assert isinstance(planner.agent, HierarchicalAgent)
        hot = planner.agent.config.planner.temperature
        source = planner.spec, planner.agent
        plans = [propose(*source, task, 1, hot, s, s) for task, s in zip(tasks, seeds, strict=True)]
        proposals = [proposal for (proposal,) in planner.collector.run(plans)]
    elif blueprints == "planner":
        proposals = [None] * len(tasks)
    else:
        proposals = [given_blueprint(runtime, task, s, blueprints) for task, s in zip(tasks, seeds, strict=True)]
    each = list(zip(tasks, seeds, proposals, strict=True))
    if not runtime.config.engine.can.exact or isinstance(agent, ReflexionAgent):
        runs = [trials(spec, agent, task, temperature, s, proposal=proposal) for task, s, proposal in each]
        tell = None if on_result is None else (lambda done: on_result(done[-1].episode))
        return some_sound([done[-1].episode for done in runtime.collector.run(runs, tell)])
    programs = [run_episode(spec, agent, task, temperature, s, s, proposal) for task, s, proposal in each]
    return some_sound(runtime.collector.run(programs, on_result))


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
        pool.submit(pool.acquire(), ("reset", task.options, seed))
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
