"""Nested executions over the toy benchmark with a scripted engine."""

import re
from collections import defaultdict

import numpy as np
import pytest

from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.advantages import group_relative
from himac.algos.base import PhaseContext
from himac.algos.himac_plus import HimacPlus
from himac.algos.sampling import HierarchicalSampler
from himac.config import HimacPlusConfig
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.episode import Setting
from himac.types import Role
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

AT = PhaseContext(0, 7)
TASKS = ColourBenchmark().tasks("train")[:3]
PLANS, EXECUTIONS = 4, 3


def reply(prompt, request):
    """Blueprints 0 and 1 of four are equal and right, the others are different and wrong; executions 0 of 3 stutter."""
    if prompt.startswith("Plan."):
        a, b = re.search(r"Task: (\w+) (\w+)", prompt).groups()
        return [f"1. say {a}\n2. say {b}", f"1. say {a}\n2. say {b}", f"1. say {b}", f"1. say {b}\n2. say {a}"][
            request.id[1]
        ]
    wanted = prompt.rsplit("Goal: ", 1)[1].split("\n", 1)[0].removeprefix("say ")
    stutters = request.session[2] % 2 == 0 and "Nothing happens." not in prompt and request.session[3] == 0
    return "fly" if stutters else f"{wanted}<sub_done>"


@pytest.fixture
def make():
    def build(answer=reply, **settings):
        cfg = load_config(None, ["env.step_limit=6", "agent.max_context=400"])
        collector = Collector(ScriptedEngine(answer), EnvPool(ColourBenchmark().make_env), max_live=8)
        agent = HierarchicalAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
        sampler = HierarchicalSampler(Setting(ColourBenchmark(), cfg, 400), agent, collector)
        sizes = {"tasks": 3, "plans": PLANS, "executions": EXECUTIONS}
        return HimacPlus(HimacPlusConfig(**sizes | settings), sampler), collector

    return build


def by_role(outcome, role):
    return [row for row in outcome.rows if row.role is role]


def test_every_execution_is_sampled_and_both_roles_get_rows(make):
    algo, collector = make()
    outcome = algo.nested(AT, TASKS, None)
    assert [len(group.episodes) for group in outcome.groups] == [PLANS * EXECUTIONS] * 3
    assert len(by_role(outcome, Role.PLANNER)) == 3 * PLANS, "one row a blueprint, not one an execution"
    segments = sum(len(e.segments) for group in outcome.groups for e in group.episodes)
    assert len(by_role(outcome, Role.EXECUTOR)) == segments
    requests = collector.engine.requests
    assert {request.params.temperature for request in requests} == {1.0}
    assert sum(request.session[1] == "plan" for request in requests) == 3 * PLANS


def test_the_planner_compares_means_of_equal_blueprints(make):
    algo, _ = make(std="population")
    outcome = algo.nested(AT, TASKS, None)
    rows = by_role(outcome, Role.PLANNER)
    for number, group in enumerate(outcome.groups):
        returns = defaultdict(list)
        for episode in group.episodes:
            returns[episode.blueprint.subgoals].append(episode.ret)
        assert sorted(len(values) for values in returns.values()) == [3, 3, 6], "equal blueprints are pooled"
        # In the order of the proposals: two of the pooled one, then the two others.
        means = [np.mean(returns[e.blueprint.subgoals]) for e in group.episodes[::EXECUTIONS]]
        advantages = [row.advantages[row.loss_mask][0] for row in rows[number * PLANS : (number + 1) * PLANS]]
        np.testing.assert_allclose(advantages, group_relative(means), rtol=1e-5)
        assert advantages[0] == advantages[1] > 0


def test_executions_are_compared_with_others_of_their_blueprint(make):
    """Without step credit a slower execution of a right blueprint is the worse one, one of a wrong one is as bad."""
    algo, _ = make(step_weight=0.0)
    outcome = algo.nested(AT, TASKS, None)
    rows = iter(by_role(outcome, Role.EXECUTOR))
    signs = set()
    for group in outcome.groups:
        for episode in group.episodes:
            values = {float(v) for _ in episode.segments for row in [next(rows)] for v in row.advantages[row.loss_mask]}
            assert len(values) == 1, "one advantage an episode"
            stuttered = any(turn.invalid for turn in episode.turns)
            signs.add((episode.success, stuttered, float(np.sign(values.pop()))))
    assert signs == {(True, True, -1.0), (True, False, 1.0), (False, True, 0.0), (False, False, 0.0)}


def test_steps_have_credit_of_their_own(make):
    """The rejected action, not the right one behind it, is what a stuttering execution is worse for."""
    algo, _ = make(step_weight=5.0)
    outcome = algo.nested(AT, TASKS, None)
    rows = iter(by_role(outcome, Role.EXECUTOR))
    checked = 0
    for group in outcome.groups:
        for episode in group.episodes:
            first, *_ = [next(rows) for _ in episode.segments]
            if episode.success and episode.turns[0].invalid:
                wrong, right = episode.turns[:2]
                assert first.advantages[wrong.start] < first.advantages[right.start]
                checked += 1
    assert checked


def test_the_planner_may_rest(make):
    algo, _ = make(plan_every=2)
    roles = [{row.role for row in algo.nested(PhaseContext(n, 7), TASKS, None).rows} for n in range(3)]
    assert [Role.PLANNER in found for found in roles] == [True, False, True]
    assert all(Role.EXECUTOR in found for found in roles)


def test_malformed_blueprints_cost_no_step_and_lose(make):
    def mumble(prompt, request):
        nonsense = prompt.startswith("Plan.") and request.id[1] == 0
        return "nonsense" if nonsense else reply(prompt, request)

    algo, _ = make(mumble)
    outcome = algo.nested(AT, TASKS, None)
    for row in by_role(outcome, Role.PLANNER)[::PLANS]:
        assert row.advantages[row.loss_mask][0] < 0
