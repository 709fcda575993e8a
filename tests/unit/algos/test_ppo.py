"""PPO over the toy benchmark with a scripted engine and a critic made by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.algos.base import PhaseContext, PhaseOutcome
from himac.algos.gae import gae, whiten
from himac.algos.ppo import Ppo, PpoConfig
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.sampling import FlatSampler
from himac.types import FloatArray, Row
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

TASKS = ColourBenchmark().tasks("train")[:3]


class Positions:
    """Values a state by its position in the row; the reference thinks every token twice as unlikely."""

    def values(self, rows: Sequence[Row]) -> list[FloatArray]:
        return [np.arange(len(row.input_ids), dtype=np.float32)[:, None] / 10 for row in rows]

    def reference_logprobs(self, rows: Sequence[Row]) -> list[FloatArray]:
        return [np.where(row.loss_mask, row.old_logprobs - np.log(2), 0).astype(np.float32) for row in rows]


def reply(prompt: str, request: Any) -> str:
    """Every other sample succeeds in two turns, the rest says one colour on and on."""
    wanted = prompt.split("Task: ")[1].split()[:2]
    if request.session[2] % 2:
        return "boom" if request.session[2] % 5 == 0 else "gold"
    return wanted[1] if f"you said {wanted[0]}" in prompt else wanted[0]


def collect(tasks: int = 3, **settings: Any) -> tuple[PhaseOutcome, PpoConfig]:
    cfg = load_config(None, ["env.step_limit=6", "agent.max_context=400", "agent.name=flat"])
    config = PpoConfig(tasks=3, **settings)
    with EnvPool(ColourBenchmark().make_env) as pool:
        agent = FlatAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
        collector = Collector(ScriptedEngine(reply), pool, max_live=8)
        sampler = FlatSampler(EpisodeSpec(ColourBenchmark(), cfg, 400), agent, collector)
        ((name, phase),) = Ppo(config, sampler, Positions()).phases
        assert name == "flat"
        return phase(PhaseContext(0, 7), TASKS[:tasks], None), config


def test_advantages_and_targets_are_gae_over_the_own_tokens() -> None:
    outcome, config = collect(group_size=6, gamma=0.9, lam=0.7)
    episodes = [episode for group in outcome.groups for episode in group.episodes]
    assert {episode.success for episode in episodes} == {True, False}
    raw, targets = [], []
    for row, episode in zip(outcome.rows, episodes, strict=True):
        (segment,) = episode.segments
        own = np.flatnonzero(row.loss_mask)
        rewards = np.zeros(len(own))
        for n, turn in enumerate(episode.turns):
            last = np.flatnonzero(own < turn.end)[-1]
            # Every failure pays its floor at the end.
            floor = episode.ret - sum(t.reward for t in episode.turns) if n == len(episode.turns) - 1 else 0.0
            rewards[last] += turn.reward + floor
        assert rewards.sum() == pytest.approx(episode.ret)
        assert np.array_equal(own, np.flatnonzero(segment.sampled))
        advantages, returns = gae(rewards, own / 10, config.gamma, config.lam)
        raw.append(advantages)
        targets.append(returns)
        assert row.value is not None
        assert np.array_equal(row.value.mask[:, 0], row.loss_mask)
        np.testing.assert_allclose(row.value.old[own, 0], own / 10, rtol=1e-6)
        np.testing.assert_allclose(row.value.target[own, 0], returns, rtol=1e-5, atol=1e-5)
        assert not row.advantages[~row.loss_mask].any()
    expected = whiten(np.concatenate(raw))
    found = np.concatenate([row.advantages[row.loss_mask] for row in outcome.rows])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    error = np.concatenate(targets) - np.concatenate([np.flatnonzero(row.loss_mask) / 10 for row in outcome.rows])
    assert outcome.metrics["explained_variance"] == pytest.approx(
        1 - error.var() / np.concatenate(targets).var(), rel=1e-3
    )


def test_undiscounted_returns_start_at_the_episode_return() -> None:
    outcome, _ = collect(group_size=1, lam=1.0, whiten=False)
    assert [len(group.episodes) for group in outcome.groups] == [1] * len(outcome.groups)
    for row, group in zip(outcome.rows, outcome.groups, strict=True):
        assert row.value is not None
        first = np.flatnonzero(row.loss_mask)[0]
        assert row.value.target[first, 0] == pytest.approx(group.episodes[0].ret, abs=1e-4)
        assert row.advantages[first] == pytest.approx(group.episodes[0].ret - first / 10, abs=1e-4)


def test_kl_in_the_reward() -> None:
    """log pi - log ref is ln 2 on every token: the target of each falls by 0.1 ln 2 for it and those that follow."""
    plain, _ = collect(group_size=2, lam=1.0)
    dear, _ = collect(group_size=2, lam=1.0, reward_kl=0.1)
    for one, other in zip(plain.rows, dear.rows, strict=True):
        assert one.value is not None
        assert other.value is not None
        left = np.arange(one.loss_mask.sum(), 0, -1)
        difference = (one.value.target - other.value.target)[one.loss_mask, 0]
        np.testing.assert_allclose(difference, 0.1 * np.log(2) * left, rtol=1e-3, atol=1e-4)


def test_crashed_episodes_give_no_rows() -> None:
    outcome, _ = collect(group_size=8)
    assert outcome.metrics["env_errors"] > 0
    assert len(outcome.rows) == sum(len(group.episodes) for group in outcome.groups) < 24


def test_nothing_collected_gives_nothing() -> None:
    outcome, _ = collect(tasks=0)
    assert outcome.rows == []
    assert "explained_variance" not in outcome.metrics
