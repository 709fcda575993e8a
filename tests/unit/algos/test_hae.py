"""Hierarchical advantage estimation against recorded cases, by hand, and by its properties."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.agents.hiper import HiperAgent
from himac.algos.hae import (
    HIGH,
    LOW,
    TERM,
    hierarchical_advantages,
    level_masks,
    normalised,
    per_token,
    segment_starts,
    shaped_rewards,
    value_positions,
)
from himac.config import AgentConfig
from support.golden import algorithm_cases
from support.toy import ColourBenchmark

HEADS = {"one": 1, "two": 2, "three": 3}


class CharTokenizer:
    """One token a character."""

    eos_token = "\x00"
    eos_token_id = 0
    chat_template = None
    all_special_tokens = ()

    def encode(self, text: str, **_: Any) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(chr(i) for i in ids)


def recorded(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Our figures of a recorded batch, under the names of the record."""
    batch, other, cfg = (case["inputs"][name] for name in ("batch", "non_tensor", "cfg"))
    fixed = ("keep_consistency_requires_both", "assign_high_to_subgoal", "assign_term_to_switch")
    assert all(cfg[name] for name in fixed)
    heads = HEADS[case["heads"]]
    response = np.array(batch["response_mask"], bool)
    count, length = response.shape
    tokens = np.array(batch["responses"])
    parts = [np.array(case["inputs"][f"{name}_mask"], bool) & response for name in ("switch", "subgoal", "action")]
    switch, dones = np.array(other["switch"], bool), np.array(other["dones"], bool)
    # `Turn.reward` holds the penalty of an invalid action already.
    rewards = np.array(other["rewards"]) - cfg["invalid_action_penalty_coef"] * (1 - np.array(other["is_action_valid"]))
    value_masks = [
        np.array(batch[f"value_mask_{level}"], bool) & response if f"value_mask_{level}" in batch else response & False
        for level in ("low", "high", "term")
    ]
    values = np.zeros((count, heads))
    for head, level in enumerate(("low", "high", "term")[:heads]):
        mask = value_masks[head]
        last = np.maximum(response.sum(1) - 1, 0)
        place = np.where(mask.any(1), mask.argmax(1), last)
        values[:, head] = np.array(batch[f"value_{level}"])[np.arange(count), place]
    episodes = defaultdict[str, list[int]](list)
    for row in np.argsort(other["turn_idx"], kind="stable"):
        episodes[other["traj_uid"][row]].append(int(row))
    advantages, targets, opens = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros(count, bool)
    for rows in episodes.values():
        assert not dones[rows[:-1]].any()
        goals = [tuple(tokens[row][parts[1][row]].tolist()) or None for row in rows]
        shaped = shaped_rewards(
            rewards[rows],
            switch[rows],
            goals,
            keep_penalty=cfg["keep_penalty"],
            mode=cfg["keep_penalty_mode"],
            consistency_penalty=cfg["keep_consistency_penalty"],
        )
        opens[rows] = segment_starts(switch[rows])
        advantages[rows], targets[rows] = hierarchical_advantages(
            shaped,
            opens[rows],
            values[rows],
            gamma=cfg["gamma"],
            lam_turn=cfg["lam_turn"],
            lam_seg=cfg["lam_seg"],
            bootstrap=cfg["bootstrap_truncated"] and not dones[rows[-1]],
        )
    turn = np.repeat(np.arange(count), length)
    masks = level_masks(
        np.stack([part.ravel() for part in parts], axis=-1),
        np.repeat(opens, length),
        term=heads == 3,
        high_to_switch=cfg["assign_high_to_switch"],
    )
    if cfg["norm_adv"]:
        advantages = normalised(advantages, turn, masks)
    spread = per_token(advantages, turn, masks)
    trained = per_token(targets, turn, np.stack([mask.ravel() for mask in value_masks], axis=-1))
    figures = {"advantages": spread.sum(-1)}
    for index, (level, short) in enumerate((("low", "lo"), ("high", "hi"), ("term", "term"))):
        figures |= {
            f"advantages_{level}": spread[:, index],
            f"returns_{level}": trained[:, index],
            f"hae_{short}_mask": masks[:, index],
        }
    return {name: figure.reshape(count, length) for name, figure in figures.items()}


def test_every_output_of_the_recorded_cases() -> None:
    cases = algorithm_cases("hae")
    assert {case["heads"] for case in cases} == set(HEADS)
    for case in cases:
        ours = recorded(case)
        assert set(case["outputs"]) == set(ours)
        for name, expected in case["outputs"].items():
            np.testing.assert_allclose(
                ours[name], np.array(expected), rtol=1e-5, atol=1e-5, err_msg=f"{case['case']} {name}"
            )


def test_value_positions_of_the_recorded_texts() -> None:
    agent = HiperAgent(CharTokenizer(), ColourBenchmark.texts, AgentConfig())
    for case in algorithm_cases("hae_value_mask"):
        given, expected = case["inputs"], case["outputs"]
        for row, text in enumerate(given["texts"]):
            ids = tuple(map(ord, text[: given["valid_len"][row]]))
            spans = agent.spans(ids)
            low, high, term = value_positions(spans.switch.stop, spans.subgoal.stop, len(ids))
            opens = given["turn_idx"][row] == 0 or given["switch"][row]
            assert ([low], [high] if opens else [], [term]) == tuple(expected[n][row] for n in ("low", "high", "term"))


def test_by_hand() -> None:
    # Two segments: turns 0 and 1, turn 2. gamma = lam_turn = lam_seg = 1/2.
    advantages, targets = hierarchical_advantages(
        np.array([1.0, 2.0, 4.0]),
        np.array([True, False, True]),
        np.array([[1.0, 3.0, 0.5], [2.0, 9.0, 0.25], [4.0, 6.0, 1.0]]),
        gamma=0.5,
        lam_turn=0.5,
        lam_seg=0.5,
    )
    # Turn 2: 4 - 4 = 0. Turn 1: 2 + 6/2 - 2 = 3. Turn 0: 1 + 2/2 - 1 + 3/4 = 1.75.
    np.testing.assert_allclose(advantages[:, LOW], [1.75, 3.0, 0.0])
    np.testing.assert_allclose(targets[:, LOW], [2.75, 5.0, 4.0])
    # Segment 2: 4 - 6 = -2. Segment 1: 1 + 2/2 + 6/4 - 3 + (1/4)(1/2)(-2) = 0.25.
    np.testing.assert_allclose(advantages[:, HIGH], [0.25, 0.0, -2.0])
    np.testing.assert_allclose(targets[:, HIGH], [3.25, 0.0, 4.0])
    # G: turn 2: 4. Turn 1: 2 + 6/2 = 5. Turn 0: 1 + 5/2 = 3.5.
    np.testing.assert_allclose(targets[:, TERM], [3.5, 5.0, 4.0])
    np.testing.assert_allclose(advantages[:, TERM], [3.0, 4.75, 3.0])


def test_penalties_by_hand() -> None:
    switch = np.array([True, False, False, True, False])
    goals = ["a", "a", "b", "c", None]
    fixed = shaped_rewards(np.zeros(5), switch, goals, keep_penalty=-1.0, mode="fixed", consistency_penalty=-0.5)
    np.testing.assert_allclose(fixed, [0, -1, -1.5, 0, -1])
    shared = shaped_rewards(np.zeros(5), switch, goals, keep_penalty=-1.0, mode="normalized", consistency_penalty=0.0)
    np.testing.assert_allclose(shared, [0, -0.2, -0.2, 0, -0.2])


@st.composite
def episodes(draw: Any) -> tuple[np.ndarray, np.ndarray, int]:
    turns = draw(st.integers(1, 8))
    rewards = draw(st.lists(st.floats(-10, 10, width=32), min_size=turns, max_size=turns))
    switch = draw(st.lists(st.booleans(), min_size=turns, max_size=turns))
    return np.array(rewards), segment_starts(np.array(switch)), draw(st.integers(1, 3))


@given(episode=episodes(), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_perfect_values_leave_no_advantage(
    episode: tuple[np.ndarray, np.ndarray, int], gamma: float, lam: float
) -> None:
    rewards, starts, heads = episode
    to_go = np.zeros(len(rewards) + 1)
    for turn in reversed(range(len(rewards))):
        to_go[turn] = rewards[turn] + gamma * to_go[turn + 1]
    values = np.repeat(to_go[:-1, None], heads, axis=1)
    advantages, targets = hierarchical_advantages(rewards, starts, values, gamma=gamma, lam_turn=lam, lam_seg=lam)
    np.testing.assert_allclose(advantages, 0, atol=1e-9)
    np.testing.assert_allclose(targets[:, LOW], to_go[:-1], atol=1e-9)


@given(episode=episodes())
def test_one_long_segment_is_gae(episode: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Without switches and discount the low and high levels see the whole return."""
    rewards, starts, heads = episode
    starts = segment_starts(np.zeros_like(starts))
    values = np.linspace(-1, 1, len(rewards) * heads).reshape(-1, heads)
    advantages, _ = hierarchical_advantages(rewards, starts, values, gamma=1.0, lam_turn=1.0, lam_seg=0.3)
    np.testing.assert_allclose(advantages[:, LOW], rewards[::-1].cumsum()[::-1] - values[:, 0], atol=1e-9)
    np.testing.assert_allclose(advantages[0, HIGH], rewards.sum() - values[0, min(1, heads - 1)], atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_normalising_does_not_scale_rounding_up(noise: float) -> None:
    advantages = np.array([[0.0, 1.0, 0.0], [noise, 3.0, -1.0]])
    masks = np.array([[True, True, False], [True, True, False]])
    result = normalised(advantages, np.array([0, 1]), masks)
    np.testing.assert_array_equal(result[:, LOW], 0.0)
    np.testing.assert_allclose(result[:, HIGH], [-1.0, 1.0], rtol=1e-7)
    np.testing.assert_array_equal(result[:, TERM], advantages[:, TERM])
