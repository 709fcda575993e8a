"""An execution gone on with once more from one of its boundaries, as a program."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from himac.agents.hierarchical import HierarchicalAgent
from himac.envs.pool import EnvResult
from himac.errors import EnvironmentFailureError
from himac.rollout.episode import EpisodeSpec, Proposal, World, follow
from himac.rollout.program import Command, Reset, Restore, Step, program
from himac.scene import Content
from himac.types import Boundary, Episode, Task, Turn


@program
def branch(
    spec: EpisodeSpec,
    agent: HierarchicalAgent,
    task: Task,
    proposal: Proposal,
    boundary: Boundary,
    walked: Sequence[Turn],
    temperature: float,
    seed: int,
    env_seed: int,
) -> Generator[Command, Any, Episode]:
    """The rest of an episode from `boundary` on; the segments before it are left out, their steps and rewards are not.

    Args:
        walked: The turns before the boundary, where the environment has no snapshots: they are stepped through again.

    Raises:
        EnvironmentFailureError: the environment answers them in another way than before.
    """
    world = World(spec, **boundary.world)
    if boundary.state is not None:
        world.failed((yield Restore(boundary.state)))
    else:
        first: tuple[Command, Content] = (Reset(task.options, env_seed), world.first)
        again = [(Step(turn.action), turn.observation) for turn in walked if turn.action is not None]
        for command, told in (first, *again):
            result: EnvResult = yield command
            if world.failed(result):
                break
            if result.observation != told:
                raise EnvironmentFailureError(
                    f"task '{task.id}' was replayed, and its environment said {result.observation!r:.80} where it had "
                    f"said {told!r:.80}, so no branch can start there; make it deterministic, give it clone_state and "
                    "restore_state, or set algo.branches=0"
                )
    return (yield from follow(spec, agent, task, proposal, temperature, seed, world, boundary.done))
