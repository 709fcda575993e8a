"""The groups a phase compares: without crashed episodes, and on request without groups that teach nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from himac.algos.base import PhaseContext, PhaseOutcome
from himac.rollout.failures import some_sound
from himac.rollout.returns import all_equal
from himac.rollout.rows import returns
from himac.seeding import derive_seed
from himac.types import Episode, Group, Task

T = TypeVar("T")


def sample_groups(
    name: str,
    at: PhaseContext,
    items: Sequence[T],
    sample: Callable[[Sequence[T]], list[list[Episode]]],
    tries: int = 0,
    others: Callable[[int], T | None] = lambda _: None,
) -> tuple[list[Group], dict[str, float]]:
    """One group an item: a task, or a task with a blueprint.

    Episodes in which the environment failed say nothing about the policy and are left out, and so is a group that has
    no others.

    Args:
        name: Prefix of the groups' ids.
        sample: Episodes of each item, at least one.
        tries: How often groups whose returns are all equal give way to groups of other items (dynamic sampling of
            DAPO, arXiv 2503.14476, with a bound).
        others: What is tried in place of the item of this number; `None`: it stays.

    Returns:
        The groups in the order of the items, and as metrics the `env_errors` left out and the groups `resampled`.

    Raises:
        EnvironmentFailureError: the environment failed in every episode.
    """
    groups = dict[int, Group]()
    wanted, broken, resampled = dict(enumerate(items)), list[Episode](), 0
    for number in range(tries + 1):
        for n, episodes in zip(wanted, sample(list(wanted.values())), strict=True):
            sound = tuple(episode for episode in episodes if not episode.broken)
            broken += [episode for episode in episodes if episode.broken]
            groups[n] = Group(f"{name}{at.iteration}/{n}", episodes[0].task, sound)
        if number == tries:
            break
        stale = [n for n, group in groups.items() if all_equal(returns(group.episodes))]
        wanted = {n: other for n in stale if (other := others(n)) is not None}
        if not wanted:
            break
        resampled += len(wanted)
    kept = [group for group in groups.values() if group.episodes]
    if not kept:
        some_sound(broken)
    return kept, {"env_errors": float(len(broken)), "resampled": float(resampled)}


def other_tasks(at: PhaseContext, tasks: Sequence[Task]) -> Callable[[int], Task | None]:
    """Gives the tasks of the pool that are not among `tasks`, one a call, in an order of the phase's seed."""
    used = {task.id for task in tasks}
    order = random.Random(derive_seed(at.seed, "resample")).sample(range(len(at.pool)), len(at.pool))
    left = (at.pool[n] for n in order if at.pool[n].id not in used)
    return lambda _: next(left, None)


def merged(first: PhaseOutcome, second: PhaseOutcome) -> PhaseOutcome:
    """Two phases as one update; their counts are added."""
    counts = {key: value + second.metrics[key] for key, value in first.metrics.items()}
    return PhaseOutcome(first.rows + second.rows, first.groups + second.groups, metrics=counts)
