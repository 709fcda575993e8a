"""HiPER over the toy benchmark with a scripted engine and a critic that is a function."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from himac.agents.hiper import HiperAgent
from himac.algos.base import PhaseContext
from himac.algos.hiper import Hiper, HiperConfig
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.sampling import FlatSampler
from himac.types import Episode, Group, Segment
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

AT = PhaseContext(0, 7)
TASKS = ColourBenchmark().tasks("train")[:2]
SPELL = ByteTokenizer().decode
PLAIN = {"keep_penalty": 0.0, "consistency_penalty": 0.0, "normalise": False}


class Critic:
    """The same value everywhere, or one a head."""

    def __init__(self, *values):
        self.heads = np.array(values, np.float32)

    def values(self, rows):
        self.rows = rows
        return [np.tile(self.heads, (len(row.input_ids), 1)) for row in rows]


def reply(prompt, request):
    """Half of the samples succeed with two sub-goals; the others say a wrong colour and keep on until the limit."""
    a, b = re.search(r"Task: (\w+) (\w+)", prompt).groups()
    first = "you said" not in prompt
    if request.session[2] % 2:
        return "SWITCH: say gold\n> gold" if first else "KEEP\n> gold"
    return f"SWITCH: say {a}\n> {a}" if first else f"SWITCH: say {b}\n> {b}"


@pytest.fixture
def make():
    def build(critic, answer=reply, **settings):
        cfg = load_config(
            None, ["env.step_limit=3", "env.invalid_penalty=0", "agent.max_context=800", "agent.name=hiper"]
        )
        collector = Collector(ScriptedEngine(answer), EnvPool(ColourBenchmark().make_env), max_live=8)
        agent = HiperAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
        sampler = FlatSampler(EpisodeSpec(ColourBenchmark(), cfg, 800), agent, collector)
        return Hiper(HiperConfig(tasks=2, group_size=8, heads=len(critic.heads), **settings), sampler, critic)

    return build


def picked(outcome, success):
    """Row of the first episode that succeeded, or did not."""
    episodes = [episode for group in outcome.groups for episode in group.episodes]
    return next(row for row, episode in zip(outcome.rows, episodes, strict=True) if episode.success is success)


def spelled(row, mask):
    """Text of the tokens with the mask, runs parted by bars."""
    chosen = np.flatnonzero(mask)
    runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
    return "|".join(SPELL(row.input_ids[run]) for run in runs)


def test_each_part_gets_the_advantage_of_its_level(make):
    algo = make(Critic(1.0, 2.0, 3.0), **PLAIN, gamma=0.5, lam_turn=0.0, lam_seg=0.0)
    outcome = algo.flat(AT, TASKS, None)
    won, lost = picked(outcome, True), picked(outcome, False)
    a, b = re.search(r"Task: (\w+) (\w+)", SPELL(won.input_ids)).groups()
    # Rewards 0 and 10. LOW: 0 + 2/2 - 1 = 0 and 10 - 1 = 9. HIGH: 2/2 - 2 = -1 and 10 - 2 = 8. TERM: 1 - 3 and 10 - 3.
    assert spelled(won, won.advantages == 9.0) == f"\n> {b}"
    assert spelled(won, won.advantages == -1.0) == f": say {a}"
    assert spelled(won, won.advantages == 8.0) == f": say {b}"
    assert spelled(won, won.advantages == -2.0) == "SWITCH"
    assert spelled(won, won.advantages == 7.0) == "SWITCH"
    # One segment of three turns, worth -1 (the failure) from each on: rewards -0.5, -0.5 and -0.5 - 0.5.
    assert spelled(lost, np.isin(lost.advantages, [-2.0])) == "\n> gold", "LOW of the last turn: -1 - 1"
    assert spelled(lost, lost.advantages == -1.0 - 2.0) == ": say gold"
    assert spelled(lost, lost.advantages == -1.0 - 3.0) == "SWITCH|KEEP|KEEP"
    wins = sum(episode.success for group in outcome.groups for episode in group.episodes)
    assert outcome.metrics["switch_fraction"] == pytest.approx(wins / (wins + 2 * (16 - wins))), "after the first turn"
    assert outcome.metrics["formed_fraction"] == 1.0


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_value_targets(make, heads):
    algo = make(Critic(*[0.0] * heads), **PLAIN)
    for row in algo.flat(AT, TASKS, None).rows:
        value = row.value
        assert value.mask.shape == value.old.shape == value.target.shape == (len(row.input_ids), heads)
        assert not value.target[~value.mask].any()
        assert (value.mask <= row.loss_mask[:, None]).all()
        text = SPELL(row.input_ids)
        switches, replies = text.count("SWITCH:") - 1, text.count("\n> ") - text.count("\n\n> ")  # less the rules
        first = [spelled(row, value.mask[:, head]) for head in range(heads)]
        assert first[0] == "|".join("\n" * replies), "LOW: the first token of the action"
        if heads > 1:
            assert first[1] == "|".join("S" * switches), "HIGH: the first token of replies that open a segment"
        if heads > 2:
            assert len(first[2].split("|")) == replies, "TERM: the first token of every reply"
        if switches == 1:
            np.testing.assert_array_equal(value.target[value.mask], -1.0, "one segment: the return at every place")


def test_without_the_third_head_switches_get_the_advantage_of_the_segment(make):
    row = picked(make(Critic(0.0, 4.0), **PLAIN).flat(AT, TASKS, None), False)
    assert spelled(row, row.advantages == -5.0) == "SWITCH: say gold"
    keeps = [n for n in range(len(row.input_ids)) if SPELL(row.input_ids[n : n + 4]) == "KEEP" and row.loss_mask[n]]
    assert len(keeps) == 2
    assert not any(row.advantages[n : n + 4].any() for n in keeps)


def test_perfect_values_without_spread_leave_no_advantage(make):
    algo = make(Critic(10.0, 10.0, 10.0), lambda prompt, request: reply(prompt, _even(request)), keep_penalty=0.0)
    rows = algo.flat(AT, TASKS, None).rows
    assert len(rows) == 16
    assert not any(row.advantages.any() for row in rows)


def test_forced_and_given_tokens_carry_nothing(make):
    algo = make(Critic(1.0, 2.0, 3.0))
    outcome = algo.flat(AT, TASKS, None)
    for row in outcome.rows:
        assert not row.advantages[~row.loss_mask].any()
    group = outcome.groups[0]
    # As if the sampler had forced the second half of every reply, and all of the last one.
    episodes = tuple(_force_ends(episode) for episode in group.episodes)
    for row, episode in zip(algo.rows([Group(group.id, group.task, episodes)]), episodes, strict=True):
        sampled = episode.segments[0].sampled[: len(row.input_ids)]
        assert not row.advantages[~sampled].any()
        assert not row.value.mask[~sampled].any()
        assert row.advantages.any()


def test_normalised_levels_have_mean_zero_over_their_turns(make):
    rows = make(Critic(0.0, 0.0, 0.0)).flat(AT, TASKS, None).rows
    low = [row.advantages[row.value.mask[:, 0]] for row in rows]  # the first token of each action
    np.testing.assert_allclose(np.mean(np.concatenate(low)), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.std(np.concatenate(low)), 1.0, atol=1e-5)


def test_penalties_reach_the_rewards(make):
    settings = PLAIN | {"keep_penalty_mode": "fixed", "lam_turn": 0.0}
    del settings["keep_penalty"]
    plain, fixed = (
        picked(make(Critic(0.0), **settings, keep_penalty=penalty).flat(AT, TASKS, None), False)
        for penalty in (0.0, -0.25)
    )
    less = plain.advantages - fixed.advantages
    assert spelled(plain, less == 0.25) == "\n> gold|\n> gold", "actions of the turns that keep"
    assert spelled(plain, less == 0.5) == "SWITCH: say gold", "their segment"


def test_an_episode_without_a_turn_has_no_row(make):
    algo = make(Critic(0.0))
    group = algo.flat(AT, TASKS, None).groups[0]
    (segment,) = group.episodes[0].segments
    empty = replace(group.episodes[0], segments=(replace(segment, turns=()),))
    assert len(algo.rows([Group("g", group.task, (group.episodes[1], empty))])) == 1
    assert algo.rows([Group("g", group.task, (empty,))]) == []


def _even(request):
    return replace(request, session=(*request.session[:2], 0))


def _force_ends(episode: Episode) -> Episode:
    (segment,) = episode.segments
    sampled = segment.sampled.copy()
    for turn in segment.turns:
        sampled[(turn.start + turn.end) // 2 : turn.end] = False
    sampled[segment.turns[-1].start :] = False
    forced = Segment(**{name: getattr(segment, name) for name in segment.__slots__} | {"sampled": sampled})
    return replace(episode, segments=(forced,))
