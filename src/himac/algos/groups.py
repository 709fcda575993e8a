"""The groups a phase compares: without crashed episodes, and on request without groups that teach nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from himac.algos.base import PhaseContext, PhaseOutcome
from himac.rollout.failures import some_sound
from himac.rollout.returns import all_equal
from himac.rollout.rows import returns
from himac.seeding import derive_seed
from himac.types import Episode, Group, Task


def sample_groups(
    name: str,
    at: PhaseContext,
    tasks: Sequence[Task],
    sample: Callable[[Sequence[Task]], list[list[Episode]]],
    tries: int = 0,
) -> tuple[list[Group], dict[str, float]]:
    """One group a task.

    Episodes in which the environment failed say nothing about the policy and are left out, and so is a group that has
    no others.

    Args:
        name: Prefix of the groups' ids.
        sample: Episodes of each task.
        tries: How often groups whose returns are all equal give way to groups of other tasks of `at.pool`, drawn from
            the phase's seed (dynamic sampling of DAPO, arXiv 2503.14476, with a bound).

    Returns:
        The groups in the order of the tasks, and as metrics the `env_errors` left out and the groups `resampled`.

    Raises:
        EnvironmentFailureError: the environment failed in every episode.
    """
    groups, others = dict[int, Group](), _others(at, tasks)
    wanted, broken, resampled = dict(enumerate(tasks)), list[Episode](), 0
    for number in range(tries + 1):
        for (n, task), episodes in zip(wanted.items(), sample(list(wanted.values())), strict=True):
            sound = tuple(episode for episode in episodes if not episode.broken)
            broken += [episode for episode in episodes if episode.broken]
            groups[n] = Group(f"{name}{at.iteration}/{n}", task, sound)
        if number == tries:
            break
        stale = [n for n, group in groups.items() if all_equal(returns(group.episodes))]
        wanted = dict(zip(stale, others, strict=False))
        if not wanted:
            break
        resampled += len(wanted)
    kept = [group for group in groups.values() if group.episodes]
    if not kept:
        some_sound(broken)
    return kept, {"env_errors": float(len(broken)), "resampled": float(resampled)}


def _others(at: PhaseContext, tasks: Sequence[Task]) -> Iterator[Task]:
    """The tasks of the pool that are not among `tasks`, in an order of the phase's seed."""
    used = {task.id for task in tasks}
    order = random.Random(derive_seed(at.seed, "resample")).sample(range(len(at.pool)), len(at.pool))
    yield from (at.pool[n] for n in order if at.pool[n].id not in used)


def merged(first: PhaseOutcome, second: PhaseOutcome) -> PhaseOutcome:
    """Two phases as one update; their counts are added."""
    counts = {key: value + second.metrics[key] for key, value in first.metrics.items()}
    return PhaseOutcome(first.rows + second.rows, first.groups + second.groups, metrics=counts)
