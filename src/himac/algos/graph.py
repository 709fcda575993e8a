# ruff: noqa: N806
"""Values solved over the graph of visited states: what an action is worth, from everything that was seen behind it.

A Monte Carlo return says how one episode went on. Where episodes of a task meet in a state, the others say how it goes
on from there as well. The states and moves of all episodes are an empirical Markov chain; its values follow from one
linear system. After GRAFT (arXiv 2609.28963); no critic is learned.

Shape suffixes: B turns of all episodes, S states, P pairs of a state and an action.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from himac.algos.advantages import Float64Array
from himac.rollout.returns import FailureCosts
from himac.types import Episode

_END = -1
_RIDGE = 1e-9


def graph_advantages(
    states: Sequence[Sequence[Hashable]],
    actions: Sequence[Sequence[Hashable]],
    rewards: Sequence[Sequence[float]],
    stepped: Sequence[Sequence[bool]],
    gamma: float,
) -> list[Float64Array]:
    """Q(s, a) - V(s) of every turn under the empirical Markov chain.

    V(s) is the mean over the visits of s of r + gamma V(s'), Q(s, a) the mean over those with action a; 0 after the
    last turn. A move that takes no environment step is not discounted. A state in which one action only was tried has
    exactly 0.

    Args:
        states: Of each turn of each episode.
        actions: What tells the turn's replies apart.
        rewards: Of each turn; a floor or a bonus at the end belongs to the last.
        stepped: Whether the turn took an environment step.
        gamma: Discount, below 1: a chain that circles without an end has a finite value then.

    Returns:
        float64 [T] for each episode.
    """
    assert 0 < gamma < 1, "values over a graph with circles need a discount below 1"
    ends = np.cumsum([len(visited) for visited in states])[:-1]
    if not any(states):
        return [np.zeros(0) for _ in states]
    source_B, count = _numbered(state for visited in states for state in visited)
    target_B = np.concatenate([np.append(part[1:], _END)[: len(part)] for part in np.split(source_B, ends)])
    reward_B = np.concatenate([np.asarray(paid, dtype=np.float64) for paid in rewards])
    discount_B = np.where(np.concatenate([np.asarray(moved, dtype=np.bool_) for moved in stepped]), gamma, 1.0)
    inner_B = target_B != _END
    share_B = 1.0 / np.bincount(source_B)[source_B]
    # (1 - gamma P) V = r. A circle of turns without a step has no discount and pays nothing: the ridge puts it at 0.
    system_SS = (1.0 + _RIDGE) * np.eye(count)
    np.subtract.at(system_SS, (source_B[inner_B], target_B[inner_B]), (discount_B * share_B)[inner_B])
    value_S = np.linalg.solve(system_SS, np.bincount(source_B, weights=reward_B * share_B))
    outcome_B = reward_B + discount_B * np.where(inner_B, value_S[target_B], 0.0)
    acted = (action for chosen in actions for action in chosen)
    pair_B, _ = _numbered(zip(source_B.tolist(), acted, strict=True))
    value_P = np.bincount(pair_B, weights=outcome_B) / np.bincount(pair_B)
    choices_S = np.bincount(source_B[np.unique(pair_B, return_index=True)[1]])
    return np.split(np.where(choices_S[source_B] > 1, value_P[pair_B] - value_S[source_B], 0.0), ends)


def _numbered(keys: Iterable[Hashable]) -> tuple[NDArray[np.int64], int]:
    """Each key as its number in the order of first appearance, [B], and how many there are."""
    known = dict[Hashable, int]()
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64), len(known)


def graph_step_advantages(episodes: Sequence[Episode], costs: FailureCosts, gamma: float) -> list[Float64Array]:
    """What each turn of the episodes of a task is worth, float64 [T] for each episode.

    A state is what was observed, how many sub-goals are done, and how many actions in a row were rejected: executions
    of several blueprints meet in it, and a policy that repeats itself is worth less after a rejection. Turns that an
    episode shares with the one it branched off from are left out: each is seen once.
    """
    turns = [[turn for part in episode.own for turn in part.turns] for episode in episodes]
    rewards = [costs.turn_rewards(episode, gamma) for episode in episodes]
    return graph_advantages(
        [_states(episode) for episode in episodes],
        [[(turn.action, turn.sub_done) for turn in own] for own in turns],
        [paid[len(paid) - len(own) :] for paid, own in zip(rewards, turns, strict=True)],
        [[turn.action is not None for turn in own] for own in turns],
        gamma,
    )


def _states(episode: Episode) -> list[Hashable]:
    states = list[Hashable]()
    for number, segment in enumerate(episode.own, episode.shared):
        rejected = 0  # in this segment: the policy sees no other
        for turn in segment.turns:
            states.append((turn.anchor, number, rejected))
            rejected = rejected + 1 if turn.invalid else 0
    return states
