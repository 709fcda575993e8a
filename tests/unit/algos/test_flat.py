"""The methods without a hierarchy over the toy benchmark with a scripted engine."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.algos.advantages import group_relative
from himac.algos.base import PhaseContext
from himac.algos.gigpo import Gigpo, GigpoConfig
from himac.algos.grpo import Grpo, GrpoConfig
from himac.algos.rloo import Rloo, RlooConfig
from himac.algos.steps import turn_advantages
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.rows import returns
from himac.rollout.sampling import FlatSampler
from himac.types import StopReason, Task
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

AT = PhaseContext(0, 7)
POOL = ColourBenchmark().tasks("train")
TASKS = POOL[:3]
METHODS = [(Grpo, GrpoConfig), (Rloo, RlooConfig), (Gigpo, GigpoConfig)]


def right(prompt):
    """The colour that is wanted next."""
    a, b = re.search(r"Task: (\w+) (\w+)", prompt).groups()
    return b if f"you said {a}" in prompt else a


def half_right(prompt, request):
    return "gold" if request.session[2] % 2 else right(prompt)


def make(method, config, reply, **settings):
    cfg = load_config(None, ["env.step_limit=6", "agent.max_context=400", "agent.name=flat"])
    collector = Collector(ScriptedEngine(reply), EnvPool(ColourBenchmark().make_env), max_live=8)
    agent = FlatAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
    sampler = FlatSampler(EpisodeSpec(ColourBenchmark(), cfg, 400), agent, collector)
    return method(config(tasks=3, group_size=8, **settings), sampler), collector


def first_values(outcome, group):
    return [row.advantages[row.loss_mask][0] for row in outcome.rows if row.group_id == group.id]


@pytest.mark.parametrize(("method", "config"), METHODS[:2])
def test_whole_trajectories_are_compared(method, config):
    algo, _ = make(method, config, half_right)
    outcome = algo.flat(AT, TASKS, None)
    assert len(outcome.rows) == 24
    for group in outcome.groups:
        rets = np.array(returns(group.episodes))
        assert rets.std() > 0
        relative = (rets - rets.mean()) / (rets.std() + 1e-6)
        expected = relative if method is Grpo else [r - (rets.sum() - r) / 7 for r in rets]
        np.testing.assert_allclose(first_values(outcome, group), expected, rtol=1e-5, atol=1e-6)
    assert all(len(set(row.advantages[row.loss_mask])) == 1 for row in outcome.rows)


def test_gigpo_weighs_each_turn():
    """One sample says a wrong colour first and succeeds later: its first turn loses against the others' first turn."""
    algo, _ = make(Gigpo, GigpoConfig, lambda prompt, request: "fly", step_weight=1.5, step_std="none")
    spoken = set()

    def reply(prompt, request):
        late = request.session[2] % 2 and request.session not in spoken
        spoken.add(request.session)
        return "fly" if late else right(prompt)

    algo.sampler.collector.engine.reply = reply
    outcome = algo.flat(AT, TASKS, None)
    rows = iter(outcome.rows)
    for group in outcome.groups:
        expected = turn_advantages(group, algo.sampler.spec.costs, gamma=0.95, weight=1.5, step_std="none")
        late = np.array([len(episode.turns) == 3 for episode in group.episodes])
        assert 0 < late.sum() < 8
        # From the start on: 10 at the second step, or -0.1 and 10 at the third. The rejected action left the start.
        starts = np.where(late, -0.1 + 10 * 0.95**2, 10 * 0.95)
        met = np.append(starts, np.full(late.sum(), 10 * 0.95))
        by_hand = group_relative(returns(group.episodes)) + 1.5 * (starts - met.mean())
        np.testing.assert_allclose([values[0] for values in expected], by_hand)
        for episode, values in zip(group.episodes, expected, strict=True):
            row = next(rows)
            for turn, value in zip(episode.turns, values, strict=True):
                span = slice(turn.start, turn.end)
                np.testing.assert_allclose(row.advantages[span][row.loss_mask[span]], value, rtol=1e-5)
            assert not row.advantages[~row.loss_mask].any()


@pytest.mark.parametrize(("method", "config"), METHODS)
@pytest.mark.parametrize("reply", ["gold", None])
def test_equal_episodes_contribute_exactly_zero(method, config, reply):
    """Without a discount, so that a state met twice in one episode is worth the same both times."""
    settings = {"gamma": 1.0} if method is Gigpo else {}
    algo, _ = make(method, config, lambda prompt, request: reply or right(prompt), **settings)
    tasks = [task for task in POOL if task.kind != "gold"][:3]
    outcome = algo.flat(AT, tasks, None)
    assert len(outcome.rows) == 24
    assert not any(row.advantages.any() for row in outcome.rows)


@pytest.mark.parametrize(("method", "config"), METHODS)
def test_crashed_episodes_do_not_move_their_group(method, config):
    """The same rows come out as if the crashed samples had never been drawn."""

    def crashing(prompt, request):
        return "boom" if request.session[2] % 3 == 0 else half_right(prompt, request)

    algo, _ = make(method, config, crashing)
    broken = Task("broken", "red", {})
    outcome = algo.flat(AT, [*TASKS, broken], None)
    whole, _ = make(method, config, half_right)
    reference = whole.flat(AT, TASKS, None)
    assert [group.task for group in outcome.groups] == TASKS
    crashed = 0
    rows = iter(outcome.rows)
    for group, complete in zip(outcome.groups, reference.groups, strict=True):
        sound = replace(complete, episodes=tuple(e for e in complete.episodes if e.seed % 3))
        crashed += len(complete.episodes) - len(sound.episodes)
        assert [e.ret for e in group.episodes] == [e.ret for e in sound.episodes]
        assert all(e.stop is not StopReason.ENV_ERROR for e in group.episodes)
        for row, expected in zip(itertools.islice(rows, len(sound.episodes)), algo.rows([sound]), strict=True):
            np.testing.assert_array_equal(row.input_ids, expected.input_ids)
            np.testing.assert_array_equal(row.advantages, expected.advantages)
    assert next(rows, None) is None
    assert crashed > 0
    assert outcome.metrics["env_errors"] == crashed + 8


@pytest.mark.parametrize(("method", "config"), METHODS)
def test_groups_that_teach_nothing_are_replaced(method, config):
    """Tasks whose first colour is blue always succeed; the others do so half of the time."""

    def reply(prompt, request):
        return right(prompt) if "Task: blue" in prompt else half_right(prompt, request)

    at = replace(AT, pool=tuple(POOL))
    settings = {"resample": 2} | ({"step_weight": 0.0} if method is Gigpo else {})
    plain, _ = make(method, config, reply)
    assert all(group.task.kind == "blue" for group in plain.flat(at, TASKS, None).groups)
    algo, collector = make(method, config, reply, **settings)
    outcome = algo.flat(at, TASKS, None)
    assert all(group.task.kind != "blue" for group in outcome.groups)
    assert len({group.task.id for group in outcome.groups}) == len({group.id for group in outcome.groups}) == 3
    assert all(np.any(first_values(outcome, group)) for group in outcome.groups)
    assert outcome.metrics["resampled"] >= 3
    spent = sum(e.env_steps for group in outcome.groups for e in group.episodes)
    assert collector.usage.env_steps >= spent + 3 * 8 * 2, "the replaced groups' steps count"
    again, _ = make(method, config, reply, **settings)
    assert [g.task for g in again.flat(at, TASKS, None).groups] == [g.task for g in outcome.groups]
    other = replace(at, seed=8)
    draws = {tuple(g.task.id for g in make(method, config, reply, **settings)[0].flat(other, TASKS, None).groups)}
    assert draws != {tuple(g.task.id for g in outcome.groups)}


def test_resampling_ends_with_the_tries_and_with_the_pool():
    always = make(Grpo, GrpoConfig, lambda prompt, request: right(prompt), resample=1)[0]
    outcome = always.flat(replace(AT, pool=tuple(POOL)), TASKS, None)
    assert outcome.metrics["resampled"] == 3
    assert not {group.task.id for group in outcome.groups} & {task.id for task in TASKS}
    assert always.flat(AT, TASKS, None).metrics["resampled"] == 0, "there is no pool"
    endless = make(Grpo, GrpoConfig, lambda prompt, request: right(prompt), resample=100)[0]
    outcome = endless.flat(replace(AT, pool=tuple(POOL)), TASKS, None)
    assert outcome.metrics["resampled"] == len(POOL) - 3, "no task is drawn twice"
    assert len(outcome.groups) == 3
