"""Hierarchical advantage estimation of HiPER (arXiv 2602.16165) as pure functions of one episode's turns.

An episode is cut into segments at the turns that switch the sub-goal. Three levels look at a turn:

- `LOW`: the action under the active sub-goal; its value V_low is that of the state after the sub-goal is written.
- `HIGH`: the sub-goal, chosen at a segment's first turn; V_high is the value before anything is written.
- `TERM`: the decision to keep or to switch; V_term is the value before it.

Shape suffixes: S turns of an episode (or of several, one after another), H value heads, 3 levels, T tokens.
Everything is computed in float64.
"""
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from himac.algos.advantages import Float64Array
from himac.types import BoolArray

LOW, HIGH, TERM = 0, 1, 2

KeepPenaltyMode = Literal["fixed", "normalized"]

# Critics answer in float32: advantages that differ by less than this are rounding, and are not scaled up.
_EQUAL_ATOL = 1e-6


def segment_starts(switch_S: BoolArray) -> BoolArray:
    """Turns that open a segment: those that switch, and the first."""
    starts_S = switch_S.copy()
    starts_S[:1] = True
    return starts_S


def shaped_rewards(
    rewards_S: Float64Array,
    switch_S: BoolArray,
    subgoals_S: Sequence[object | None],
    *,
    keep_penalty: float,
    mode: KeepPenaltyMode,
    consistency_penalty: float,
) -> Float64Array:
    """Rewards of one episode's turns with the penalties that keep the policy from never switching.

    Every KEEP turn gets `keep_penalty`, in mode `normalized` divided by the turns of the episode (an episode of one
    turn then gets none). A KEEP turn whose sub-goal differs from that of the turn before gets `consistency_penalty`
    where both name one.

    Args:
        subgoals_S: The sub-goal each reply names, `None` without one.
        keep_penalty, consistency_penalty: At most 0.
    """
    shaped_S = rewards_S.astype(np.float64)
    keep_S = ~switch_S
    if mode == "fixed":
        shaped_S[keep_S] += keep_penalty
    elif len(shaped_S) > 1:
        shaped_S[keep_S] += keep_penalty / len(shaped_S)
    for turn, (before, now) in enumerate(pairwise(subgoals_S), 1):
        if keep_S[turn] and before is not None and now is not None and before != now:
            shaped_S[turn] += consistency_penalty
    return shaped_S


def hierarchical_advantages(
    rewards_S: Float64Array,
    starts_S: BoolArray,
    values_SH: NDArray[np.floating],
    *,
    gamma: float,
    lam_turn: float,
    lam_seg: float,
    bootstrap: bool = False,
) -> tuple[Float64Array, Float64Array]:
    """Advantages and value targets of one episode, for each level. Segment k has turns s_k to e_k and d_k of them.

    LOW, inside a segment: A_t = r_t + gamma V(t+1) - V_low(t) + gamma lam_turn A_(t+1), with V(t+1) = V_low(t+1) and,
    after the segment's last turn, V(t+1) = V_high(s_(k+1)) and A_(t+1) = 0. Target A_t + V_low(t).
    HIGH, over segments, at turn s_k (0 at others): A_k = G_k - V_high(s_k) + gamma^d_k lam_seg A_(k+1), where
    G_k = sum_j gamma^j r_(s_k + j) + gamma^d_k V_high(s_(k+1)). Target A_k + V_high(s_k).
    TERM: A_t = G_t - V_term(t), where G_t is the same sum from turn t on. Target G_t. 0 without its head.

    Args:
        values_SH: Values of the heads low, high, term; with H = 1 the low values stand for the high ones.
        bootstrap: The episode was cut off: its last turn is followed by a state worth V_low of that turn, and V_high
            of the last segment's first turn. Otherwise nothing follows.

    Returns:
        Advantages and targets, float64 [S, 3] both.
    """
    turns, heads = values_SH.shape
    assert rewards_S.shape == starts_S.shape == (turns,), "one reward, start flag and row of values a turn"
    assert 1 <= heads <= 3, f"1 to 3 value heads, not {heads}"
    assert turns == 0 or starts_S[0], "the first turn opens a segment"
    low_S: Float64Array = values_SH[:, 0].astype(np.float64)
    high_S: Float64Array = values_SH[:, min(1, heads - 1)].astype(np.float64)
    advantages_S3, targets_S3 = np.zeros((turns, 3)), np.zeros((turns, 3))
    end, high_advantage = turns, 0.0
    for start in np.flatnonzero(starts_S)[::-1]:
        if end < turns:
            after_low = after = float(high_S[end])
        else:
            after_low, after = (float(low_S[-1]), float(high_S[start])) if bootstrap else (0.0, 0.0)
        low_advantage = 0.0
        for turn in range(end - 1, start - 1, -1):
            reward, low = float(rewards_S[turn]), float(low_S[turn])
            low_advantage = reward + gamma * after_low - low + gamma * lam_turn * low_advantage
            after_low, after = low, reward + gamma * after
            advantages_S3[turn, LOW], targets_S3[turn, TERM] = low_advantage, after
        high_advantage = after - float(high_S[start]) + gamma ** (end - start) * lam_seg * high_advantage
        advantages_S3[start, HIGH] = high_advantage
        targets_S3[start, HIGH] = high_advantage + high_S[start]
        end = start
    targets_S3[:, LOW] = advantages_S3[:, LOW] + low_S
    if heads == 3:
        advantages_S3[:, TERM] = targets_S3[:, TERM] - values_SH[:, 2]
    else:
        targets_S3[:, TERM] = 0.0
    return advantages_S3, targets_S3


def level_masks(part_T3: BoolArray, opens_T: BoolArray, *, term: bool, high_to_switch: bool) -> BoolArray:
    """Which level's advantage each token gets, bool [T, 3]: actions LOW, sub-goals that open a segment HIGH.

    Switch decisions get TERM with its head (`term`); with `high_to_switch` those that open a segment also get HIGH.

    Args:
        part_T3: Whether the token is part of a switch decision, a sub-goal, an action.
        opens_T: The token's turn opens a segment.
    """
    switch_T, subgoal_T, action_T = part_T3.T
    high_T = subgoal_T | switch_T if high_to_switch else subgoal_T
    return np.stack([action_T, high_T & opens_T, switch_T & term], axis=-1)


def normalised(advantages_S3: Float64Array, turn_T: NDArray[np.integer], mask_T3: BoolArray) -> Float64Array:
    """(A - mean) / (std + 1e-8) for each level, over the turns with a token that gets it (population std).

    A level whose advantages are all equal up to rounding becomes exactly 0.
    """
    result_S3 = advantages_S3.copy()
    for level in (LOW, HIGH, TERM):
        chosen = np.unique(turn_T[mask_T3[:, level]])
        if not len(chosen):
            continue
        used = advantages_S3[chosen, level]
        if np.ptp(used) <= _EQUAL_ATOL * max(1.0, np.abs(used).max()):
            result_S3[:, level] = 0.0
        else:
            result_S3[:, level] = (advantages_S3[:, level] - used.mean()) / (used.std() + 1e-8)
    return result_S3


def per_token(values_S3: Float64Array, turn_T: NDArray[np.integer], mask_T3: BoolArray) -> Float64Array:
    """The value of each token's turn where the mask is set and 0 elsewhere, [T, 3]; summed over levels: advantages."""
    return np.where(mask_T3, values_S3[turn_T], 0.0)


def value_positions(switch_end: int, subgoal_end: int, length: int) -> tuple[int, int, int]:
    """Tokens of a reply at which LOW, HIGH and TERM are valued: the state before a token is that in which it is chosen.

    HIGH and TERM: the first. LOW: the first one after the sub-goal, else after the switch decision, else the first.
    """
    low = next((end for end in (subgoal_end, switch_end) if end < length), 0)
    return low, 0, 0
