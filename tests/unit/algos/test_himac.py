"""Algorithm 1 over the toy benchmark with a scripted engine."""

import re

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.base import PhaseContext
from himac.algos.grpo import Grpo
from himac.algos.himac import Himac
from himac.algos.sampling import FlatSampler, HierarchicalSampler
from himac.config import GrpoConfig, HimacConfig, load_config
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.episode import Setting
from himac.types import Role
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

AT = PhaseContext(0, 7)
TASKS = ColourBenchmark().tasks("train")[:3]


def planner_or_executor(plan):
    """A reply function: `plan(request, task words)` for the planner; an executor that says the goal's colour."""

    def reply(prompt, request):
        if prompt.startswith("Plan."):
            return plan(request, re.search(r"Task: (\w+) (\w+)", prompt).groups())
        return prompt.rsplit("Goal: ", 1)[1].split("\n", 1)[0].removeprefix("say ") + "<sub_done>"

    return reply


def half_right(request, words):
    """Every other sampled blueprint is right; the others name the colours in the wrong order."""
    a, b = words if request.id[1] % 2 else words[::-1]
    return f"1. say {a}\n2. say {b}"


@pytest.fixture
def make():
    def build(plan, **settings):
        cfg = load_config(None, ["env.step_limit=6", "agent.max_context=400"])
        engine = ScriptedEngine(planner_or_executor(plan))
        collector = Collector(engine, EnvPool(ColourBenchmark().make_env), max_live=8)
        agent = HierarchicalAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
        sampler = HierarchicalSampler(Setting(ColourBenchmark(), cfg, 400), agent, collector)
        return Himac(HimacConfig(tasks=3, plans=4, executions=4, **settings), sampler), engine, collector

    return build


def test_phase_a_trains_blueprint_tokens_only(make):
    algo, _, collector = make(half_right)
    outcome = algo.macro(AT, TASKS, None)
    assert len(outcome.rows) == 12
    assert {row.role for row in outcome.rows} == {Role.PLANNER}
    spelled = {ByteTokenizer().decode(row.input_ids[row.loss_mask]) for row in outcome.rows}
    assert all(text.startswith("1. say ") for text in spelled)
    # Two distinct blueprints a task, two steps each: equal greedy executions run once.
    assert collector.usage.env_steps == 3 * 2 * 2
    for group in outcome.groups:
        assert sorted(e.success for e in group.episodes) == [False, False, True, True]
        assert len({id(e.plan) for e in group.episodes}) == 4


def test_phase_a_advantages_are_eq_2(make):
    algo, _, _ = make(half_right)
    outcome = algo.macro(AT, TASKS, None)
    # Two of four succeed, so (R - mean) / std is +1 for them and -1 for the others whatever the two returns are.
    values = np.array([row.advantages[row.loss_mask][0] for row in outcome.rows]).reshape(3, 4)
    np.testing.assert_allclose(np.sort(values, axis=1), [[-1, -1, 1, 1]] * 3, atol=1e-5)


def test_phase_b_follows_the_best_blueprint_and_trains_executor_tokens_only(make):
    algo, engine, _ = make(half_right)
    macro = algo.macro(AT, TASKS, None)
    for task, (subgoals, value) in zip(TASKS, macro.carry, strict=True):
        assert value == 10.0
        assert subgoals == tuple(f"say {c}" for c in task.options["colours"])
    before = len(engine.requests)
    micro = algo.micro(AT, TASKS, macro.carry)
    assert {row.role for row in micro.rows} == {Role.EXECUTOR}
    assert [len(g.episodes) for g in micro.groups] == [4, 4, 4]
    assert all(r.params.temperature == 1.0 for r in engine.requests[before:])
    # Every execution succeeds: a zero-variance group contributes exactly 0.
    assert all(not row.advantages.any() for row in micro.rows)


def test_ties_prefer_fewer_steps_then_fewer_subgoals_then_the_first(make):
    def plan(request, words):
        a, b = words
        return [
            f"1. say {b}\n2. say {a}\n3. say {b}",  # succeeds in 3 steps
            f"1. say {a}\n2. say {b}\n3. say {a}",  # succeeds in 2 steps, 3 sub-goals
            f"1. say {a}\n2. say {b}",  # 2 steps, 2 sub-goals
            f"1. say {a}\n2. say {b}",
        ][request.id[1]]

    algo, _, _ = make(plan)
    outcome = algo.macro(AT, TASKS, None)
    for task, (subgoals, _) in zip(TASKS, outcome.carry, strict=True):
        assert subgoals == tuple(f"say {c}" for c in task.options["colours"])


def test_malformed_blueprints_lose(make):
    algo, _, _ = make(lambda request, words: "nonsense" if request.id[1] else f"1. say {words[0]}\n2. say {words[1]}")
    outcome = algo.macro(AT, TASKS, None)
    for n in range(3):
        first, *others = [row.advantages[row.loss_mask][0] for row in outcome.rows[4 * n : 4 * n + 4]]
        assert first > 0
        assert all(other < 0 for other in others)


def test_random_selection_and_require_positive(make):
    algo, _, _ = make(half_right, blueprint_selection="random")
    picks = [algo.macro(PhaseContext(n, n), TASKS, None).carry for n in range(6)]
    assert {value > 0 for carry in picks for _, value in carry} == {True, False}
    algo, _, _ = make(lambda request, words: "nonsense", require_positive=True)
    macro = algo.macro(AT, TASKS, None)
    assert algo.micro(AT, TASKS, macro.carry).rows == []


def test_without_co_evolution_both_roles_are_trained_in_one_phase(make):
    algo, _, _ = make(half_right, co_evolution=False)
    ((name, phase),) = algo.phases
    assert name == "joint"
    assert {row.role for row in phase(AT, TASKS, None).rows} == {Role.PLANNER, Role.EXECUTOR}


def test_grpo_groups_whole_trajectories():
    cfg = load_config(None, ["env.step_limit=6", "agent.max_context=400", "agent.name=flat"])

    def reply(prompt, request):
        a, b = re.search(r"Task: (\w+) (\w+)", prompt).groups()
        if request.session[2] % 2:
            return "gold"
        return b if "you said" in prompt else a

    collector = Collector(ScriptedEngine(reply), EnvPool(ColourBenchmark().make_env), max_live=8)
    agent = FlatAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
    algo = Grpo(GrpoConfig(tasks=3, samples=8), FlatSampler(Setting(ColourBenchmark(), cfg, 400), agent, collector))
    outcome = algo.flat(AT, TASKS, None)
    assert len(outcome.rows) == 24
    for n, group in enumerate(outcome.groups):
        returns = np.array([e.ret for e in group.episodes])
        expected = (returns - returns.mean()) / (returns.std() + 1e-6) if returns.std() else returns * 0
        got = [row.advantages[row.loss_mask][0] for row in outcome.rows[8 * n : 8 * n + 8]]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
