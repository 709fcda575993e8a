"""Which blueprints of a task phase B trains on: eq. 4 of the paper, and what stands in its place on request."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import Literal

from himac.seeding import derive_seed
from himac.types import Group

Selection = Literal["best", "random", "learnability"]
Subgoals = tuple[str, ...]
Candidate = tuple[Subgoals, float]
"""A blueprint z and its R(z)."""


def ranked_blueprints(group: Group, kind: Selection, seed: int) -> list[Candidate]:
    """The blueprints of a task, the one to train on first; equal ones once, those without sub-goals in no other place.

    `best` is eq. 4, z* = argmax R; ties: one that can be executed, fewer steps, then fewer sub-goals, then the first.
    `random` is the paper's ablation: a drawn one stands before the others.
    `learnability` puts the largest p (1 - p) first, p the share of successes among the sampled executions of equal
    blueprints: executions of one that always or never succeeds differ in little. Ties are resolved as in `best`.
    After SFL (arXiv 2408.15099) and "Learning to Reason at the Frontier of Learnability" (arXiv 2502.12272), which
    choose tasks in this way.
    """
    plans = [episode.blueprint.subgoals if episode.blueprint else () for episode in group.episodes]
    solved = defaultdict[Subgoals, list[float]](list)
    for plan, episode in zip(plans, group.episodes, strict=True):
        solved[plan].append(float(episode.success) if episode.solved is None else episode.solved)

    def key(number: int) -> tuple[float, ...]:
        episode, plan = group.episodes[number], plans[number]
        share = fmean(solved[plan]) if kind == "learnability" else 0.0
        # Returns and shares that differ by rounding are equal.
        order = -round(share * (1 - share), 9), -round(episode.ret, 9)
        return *order, not plan, episode.env_steps, len(plan), number

    order = sorted(range(len(plans)), key=key)
    if kind == "random":
        drawn = derive_seed(seed, "select", group.id) % len(plans)
        order = [drawn, *order]
    values = dict[Subgoals, float]()
    for number in order:
        if plans[number] or not values:
            values.setdefault(plans[number], group.episodes[number].ret)
    return list(values.items())
