"""Where the executions of a task branch: at the end of the sub-goal whose outcome is least certain.

Executions are sampled again from a point inside them, so that only the rest costs steps, and compared with one another
there, as within a tree of Tree-GRPO (arXiv 2509.21240; VinePPO, arXiv 2410.01679, does so for values alone). Here a
branch can start between two sub-goals only, and steps go to tasks of which an execution failed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from himac.algos.base import PhaseContext
from himac.rollout.sampling import HierarchicalSampler
from himac.seeding import derive_seed
from himac.types import Boundary, Episode, Group

Start = tuple[Episode, Boundary]


def branched(
    sampler: HierarchicalSampler, groups: Sequence[Group], count: int, at: PhaseContext
) -> tuple[list[list[Episode]], dict[str, float]]:
    """`count` branches of each group that has a start, and what they cost.

    Returns:
        The sound branches of each group behind the execution they start from, or nothing; and as metrics the number
        of `branches`, the share of them that succeeded (`branch_success`), the `replayed_steps` that an environment
        without snapshots needs, and the `env_errors`.
    """
    starts = [uncertain_start(group.episodes, derive_seed(at.seed, "start", group.id)) for group in groups]
    flat = [start for start in starts if start is not None for _ in range(count)]
    done = sampler.branch(flat, derive_seed(at.seed, "branch"), at.env_seed)
    ends = iter(done)
    families = [
        [] if start is None else [start[0], *(end for end in [next(ends) for _ in range(count)] if not end.broken)]
        for start in starts
    ]
    sound = [episode for episode in done if not episode.broken]
    replayed = sum(boundary.world["steps"] for _, boundary in flat if boundary.state is None)
    return families, {
        "branches": float(len(sound)),
        "branch_success": fmean(episode.success for episode in sound) if sound else 0.0,
        "replayed_steps": float(replayed),
        "env_errors": float(len(done) - len(sound)),
    }


def uncertain_start(episodes: Sequence[Episode], seed: int) -> Start | None:
    """One of the executions at the boundary of which it is least certain whether it leads to success.

    That is the expected p (1 - p), p the chance of success of the executions of equal blueprints that passed the
    boundary, uniform before any is seen: (s + 1) (f + 1) / ((n + 2) (n + 3)) after s successes and f failures of n. A
    later boundary is taken where two are as uncertain, for its branches are shorter. Which execution is drawn. `None`
    where none failed behind a boundary: there is nothing to repair.
    """
    passing = defaultdict[tuple[object, int], list[Start]](list)
    for episode in episodes:
        for boundary in episode.boundaries:
            passing[episode.blueprint and episode.blueprint.subgoals, boundary.done].append((episode, boundary))
    failing = {place: starts for place, starts in passing.items() if not all(e.success for e, _ in starts)}

    def openness(place: tuple[object, int]) -> tuple[float, int]:
        total = len(failing[place])
        solved = sum(episode.success for episode, _ in failing[place])
        return round((solved + 1) * (total - solved + 1) / ((total + 2) * (total + 3)), 9), place[1]

    if not failing:
        return None
    return random.Random(seed).choice(failing[max(failing, key=openness)])
