"""What is tried before time is spent: one environment, and room for a reply behind the first prompt."""

from __future__ import annotations

from collections.abc import Sequence

from himac import errors
from himac.agents.hierarchical import HierarchicalAgent
from himac.config import Config
from himac.envs.base import Benchmark
from himac.envs.pool import Command, EnvHandle, EnvPool, EnvResult
from himac.errors import ConfigError, DataError, EnvironmentFailureError, HimacError
from himac.rollout.runtime import Runtime, env_pool
from himac.scene import Scene, observed
from himac.seeding import derive_seed
from himac.types import Task

_SHOWN = 300


def try_environment(config: Config, benchmark: Benchmark, tasks: Sequence[Task]) -> list[EnvResult]:
    """Make one environment, in a worker where the run uses workers; reset it for each task and step it once.

    Returns:
        What each reset gave.

    Raises:
        HimacError: the environment's own; `EnvironmentFailureError` for whatever else it raised.
    """
    name = config.env.name
    opened = []
    with env_pool(config, benchmark, min(config.env.workers, 1)) as pool:
        handle = pool.acquire()
        for task in tasks:
            seed = derive_seed(config.seed, "preflight", task.id)
            reset = _ask(pool, handle, ("reset", task.options, seed), f"'{name}' at the reset for task '{task.id}'")
            commands = reset.info.get("admissible_commands")
            action = commands[0] if commands else "look"
            _ask(pool, handle, ("step", action), f"'{name}' at the first step ('{action}') of task '{task.id}'")
            opened.append(reset)
    return opened


def first_task(benchmark: Benchmark, split: str) -> Task:
    """The first task of a split.

    Raises:
        DataError: it has none.
    """
    tasks = benchmark.tasks(split)
    if not tasks:
        raise DataError(f"split '{split}' of benchmark '{benchmark.name}' has no tasks; choose another or add its data")
    return tasks[0]


def check_room(runtime: Runtime, opening: EnvResult) -> None:
    """Refuse pictures for an engine that takes none, and a context whose first prompt leaves no room for a reply.

    Args:
        opening: The reset of a task, from `try_environment`.

    Raises:
        ConfigError: names the setting to change.
    """
    engine, shown = runtime.config.engine, observed(opening.observation)
    if isinstance(shown, Scene) and not engine.can.images:
        raise ConfigError(
            f"the environment shows pictures, which engine '{engine.name}' does not take; "
            "set env.kwargs.observation=text or engine.name=local"
        )
    agent, limit = runtime.agent, runtime.spec.max_context
    ask = agent.planner_prompt if isinstance(agent, HierarchicalAgent) else agent.prompt
    tokens = len(ask(str(opening.info.get("instruction", "")), shown))
    if tokens >= limit:
        own = limit == runtime.config.agent.max_context
        raise ConfigError(
            f"the first prompt has {tokens} tokens and leaves no room for a reply in the {limit} of "
            + ("agent.max_context; raise it" if own else "the model; choose one with a longer context")
        )


def _ask(pool: EnvPool, handle: EnvHandle, command: Command, where: str) -> EnvResult:
    pool.submit(handle, command)
    ((_, result),) = pool.poll(block=True)
    if result.error is None and not isinstance(result.info, dict):
        raise EnvironmentFailureError(f"the environment {where} gave an info of {type(result.info).__name__}, no dict")
    if result.error is not None:
        raise _failure(where, result.error)
    return result


def _failure(where: str, trace: str) -> HimacError:
    """An error of this package as it was; the end of any other traceback in a sentence."""
    lines = trace.strip().splitlines()
    ends = max((number for number, line in enumerate(lines) if line.startswith(" ")), default=-1)
    cause = " ".join(lines[ends + 1 :] or lines[-1:])
    kind, _, text = cause.partition(": ")
    module, _, name = kind.rpartition(".")
    known = getattr(errors, name, None) if module == errors.__name__ else None
    if isinstance(known, type) and issubclass(known, HimacError):
        return known(text)
    return EnvironmentFailureError(
        f"the environment {where} failed with {cause[:_SHOWN].rstrip('.')}; repair it, and see what else is wrong "
        "with `himac check-env`"
    )
