# ruff: noqa: N803, N806
"""Step-level advantages of GiGPO (arXiv 2505.10978): steps taken in the same state are compared with one another.

Shape suffixes: T turns of one episode, B turns of all episodes of a group.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import ArrayLike

from himac.algos.advantages import Float64Array, group_relative, relative_by_group
from himac.rollout.returns import FailureCosts
from himac.rollout.rows import returns
from himac.settings import StatisticsKind, StdKind
from himac.types import Episode, Group


def discounted_returns(rewards_T: ArrayLike, gamma: float, stepped_T: Sequence[bool] | None = None) -> Float64Array:
    """G_t = r_t + gamma G_{t+1}.

    Args:
        rewards_T: Rewards of one episode in the order of time, [T].
        stepped_T: Turns that took an environment step, by default all. The others take no time: talk puts no reward
            and no penalty off.

    Returns:
        float64 [T].
    """
    returns_T = np.array(rewards_T, dtype=np.float64)
    for t in range(len(returns_T) - 2, -1, -1):
        returns_T[t] += returns_T[t + 1] * (gamma if stepped_T is None or stepped_T[t] else 1.0)
    return returns_T


def anchor_groups(
    anchors_B: Sequence[Hashable], scopes_B: Sequence[Hashable], similarity: float | None = None
) -> list[int]:
    """Number of the anchor-state group of each turn, in the order of first appearance.

    Args:
        anchors_B: What tells states apart, [B]; texts when compared by similarity.
        scopes_B: Turns of different scopes (task groups, sub-goals) are never compared, [B].
        similarity: Least `difflib` ratio to the first member of a group to join it; the first such group is taken.
            `None` puts equal anchors together only.
    """
    number_of = dict[tuple[Hashable, Hashable], int]()
    founders = dict[Hashable, list[tuple[int, SequenceMatcher[str]]]]()
    groups = 0
    for scope, anchor in zip(scopes_B, anchors_B, strict=True):
        if (scope, anchor) in number_of:
            continue
        number = None
        if similarity is not None:
            members = founders.setdefault(scope, [])
            number = next((n for n, matcher in members if _alike(matcher, str(anchor), similarity)), None)
            if number is None:
                members.append((groups, SequenceMatcher(None, "", str(anchor))))
        if number is None:
            number, groups = groups, groups + 1
        number_of[scope, anchor] = number
    return [number_of[key] for key in zip(scopes_B, anchors_B, strict=True)]


def _alike(matcher: SequenceMatcher[str], text: str, least: float) -> bool:
    """Whether the ratio of the text to the matcher's reaches `least`; the cheap upper bounds are asked first."""
    matcher.set_seq1(text)
    return matcher.real_quick_ratio() >= least and matcher.quick_ratio() >= least and matcher.ratio() >= least


def joint_advantages(
    episode_B: ArrayLike,
    returns_B: ArrayLike,
    anchor_group_B: Sequence[Hashable],
    *,
    weight: float,
    std: StdKind = "population",
    eps: float = 1e-6,
) -> Float64Array:
    """A = A_episode + omega A_step, with A_step of eq. 2 over the returns of each anchor group; singletons have 0.

    Args:
        episode_B: Episode-level advantage of each turn, [B].
        returns_B: Discounted return from each turn on, [B].
        anchor_group_B: See `anchor_groups`.
        weight: omega.
    """
    step_B = relative_by_group(returns_B, anchor_group_B, std, eps)
    return np.add(np.asarray(episode_B, dtype=np.float64), weight * step_B)


def turn_advantages(
    group: Group,
    costs: FailureCosts,
    *,
    gamma: float,
    weight: float,
    std: StdKind = "population",
    step_std: StdKind = "population",
    similarity: float | None = None,
    statistics: StatisticsKind = "trajectories",
) -> list[Float64Array]:
    """Joint advantages of the turns of each episode.

    A state is what the policy saw, and for an executor the active sub-goal with it.

    Args:
        costs: What failing costs, for the step returns.
        gamma: Discount of step returns.
        weight: omega; 0 leaves the episode-level advantage.
        std: Standard deviation at the episode level.
        step_std: The same at the step level.
        similarity: See `anchor_groups`.
        statistics: Mean and deviation at the episode level count each trajectory once, or each of its `rows` (turns).

    Returns:
        float64 [T] for each episode.
    """
    episodes, rets = group.episodes, returns(group.episodes)
    owner_B = [n for n, episode in enumerate(episodes) for _ in episode.turns]
    if statistics == "rows":
        episode_B = group_relative([rets[n] for n in owner_B], std)
    else:
        episode_B = group_relative(rets, std)[owner_B]
    if weight:
        states = [(turn.anchor, s.subgoal) for episode in episodes for s in episode.segments for turn in s.turns]
        anchor_group_B = anchor_groups([a for a, _ in states], [subgoal for _, subgoal in states], similarity)
        returns_B = np.concatenate([_step_returns(episode, costs, gamma) for episode in episodes])
        episode_B = joint_advantages(episode_B, returns_B, anchor_group_B, weight=weight, std=step_std)
    ends = np.cumsum([len(episode.turns) for episode in episodes])
    return np.split(episode_B, ends[:-1])


def _step_returns(episode: Episode, costs: FailureCosts, gamma: float) -> Float64Array:
    stepped = [turn.action is not None for turn in episode.turns]
    return discounted_returns(costs.turn_rewards(episode, gamma), gamma, stepped)
