"""Algorithm 1 over the toy benchmark with a scripted engine."""

import re
from dataclasses import replace

import numpy as np
import pytest

from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.advantages import group_relative
from himac.algos.base import PhaseContext
from himac.algos.himac import Himac, HimacConfig
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.rows import returns
from himac.rollout.sampling import HierarchicalSampler
from himac.types import Role, Task
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
        sampler = HierarchicalSampler(EpisodeSpec(ColourBenchmark(), cfg, 400), agent, collector)
        return Himac(HimacConfig(tasks=3, num_blueprints=4, num_rollouts=4, **settings), sampler), engine, collector

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
    for task, (name, ((subgoals, value),)) in zip(TASKS, macro.carry, strict=True):
        assert name == task.id
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
    for task, (_, ((subgoals, _),)) in zip(TASKS, outcome.carry, strict=True):
        assert subgoals == tuple(f"say {c}" for c in task.options["colours"])


def test_a_blueprint_that_can_be_executed_wins_a_tie_with_one_that_cannot(make):
    """An executor that is wrong at every step returns as little as a malformed blueprint, which takes no step."""
    algo, engine, _ = make(lambda request, words: f"1. say {words[0]}" if request.id[1] == 2 else "nonsense")
    unlucky(engine, 1)
    outcome = algo.macro(AT, TASKS, None)
    assert all(len({round(e.ret, 9) for e in group.episodes}) == 1 for group in outcome.groups)
    assert [subgoals for _, ((subgoals, _),) in outcome.carry] == [
        (f"say {task.options['colours'][0]}",) for task in TASKS
    ]


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
    assert {value > 0 for carry in picks for _, ((_, value),) in carry} == {True, False}
    algo, _, _ = make(lambda request, words: "nonsense", require_positive=True)
    macro = algo.macro(AT, TASKS, None)
    assert algo.micro(AT, TASKS, macro.carry).rows == []


def test_without_co_evolution_both_roles_are_trained_in_one_phase(make):
    algo, _, _ = make(half_right, co_evolution=False)
    ((name, phase),) = algo.phases
    assert name == "joint"
    assert {row.role for row in phase(AT, TASKS, None).rows} == {Role.PLANNER, Role.EXECUTOR}


def unlucky(engine, part):
    """Every `part`-th execution says nonsense throughout, whatever its blueprint."""
    obedient = engine.reply

    def reply(prompt, request):
        lost = request.session[1] == "exec" and request.session[2] % part == 0
        return "fly" if lost else obedient(prompt, request)

    engine.reply = reply


def test_a_blueprint_is_scored_by_the_mean_of_sampled_executions(make):
    algo, engine, _ = make(half_right, score_executions=3)
    unlucky(engine, 3)
    execute, done = algo.sampler.execute, []
    algo.sampler.execute = lambda *args, **kwargs: done.append(execute(*args, **kwargs)) or done[-1]
    outcome = algo.macro(AT, TASKS, None)
    assert {r.params.temperature for r in engine.requests} == {1.0}, "nothing is greedy"
    means = np.array([[e.ret for e in episodes] for episodes in done[0]]).reshape(3, 4, 3).mean(-1)
    assert len(np.unique(means.round(6))) > 2, "some blueprint has both outcomes"
    np.testing.assert_allclose([[e.ret for e in group.episodes] for group in outcome.groups], means)
    advantages = np.array([row.advantages[row.loss_mask][0] for row in outcome.rows]).reshape(3, 4)
    np.testing.assert_allclose(advantages, [group_relative(row) for row in means], rtol=1e-5)
    for group, (_, ((subgoals, value),)), row in zip(outcome.groups, outcome.carry, means, strict=True):
        assert value == pytest.approx(row.max())
        assert subgoals in [e.blueprint.subgoals for e, mean in zip(group.episodes, row, strict=True) if mean == value]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_phase_b_with_step_advantages(weight, make):
    """An execution that fumbles first and then succeeds: its fumbling turn is worth less than the others' start."""
    algo, engine, _ = make(half_right, step_weight=weight, gamma=0.5, std="none")
    obedient, fumbled = engine.reply, set()

    def reply(prompt, request):
        clumsy = request.session[1] == "exec" and request.session[2] % 2 and request.session not in fumbled
        fumbled.add(request.session)
        return "fly" if clumsy and request.session[3] == 0 else obedient(prompt, request)

    macro = algo.macro(AT, TASKS, None)
    engine.reply = reply
    micro = algo.micro(AT, TASKS, macro.carry)
    rows, clumsy = iter(micro.rows), 0
    for group in micro.groups:
        episode_level = group_relative(returns(group.episodes), "none")
        starts = [10 * 0.5 if len(e.turns) == 2 else -0.1 + 10 * 0.25 for e in group.episodes]
        met = [*starts, *(10 * 0.5 for e in group.episodes if len(e.turns) == 3)]
        for episode, base, start in zip(group.episodes, episode_level, starts, strict=True):
            first, *_ = [next(rows) for _ in episode.segments]
            turn = episode.turns[0]
            # A fumble leaves the state, so such an execution meets the start twice.
            step = start - np.mean(met)
            np.testing.assert_allclose(first.advantages[turn.start : turn.end], base + weight * step, rtol=1e-5)
            clumsy += len(episode.turns) == 3
    assert 0 < clumsy < 12


def test_degenerate_blueprint_groups_are_replaced(make):
    pool = ColourBenchmark().tasks("train")

    def plan(request, words):
        """Always right for `blue`; otherwise half of the blueprints are."""
        return half_right(request, words) if words[0] != "blue" else f"1. say {words[0]}\n2. say {words[1]}"

    tasks = pool[:3]
    assert [task.kind for task in tasks] == ["blue"] * 3
    at = replace(AT, pool=tuple(pool))
    outcomes = {}
    for tries in (0, 1, 5):
        algo, _, collector = make(plan, resample=tries)
        outcome = outcomes[tries] = algo.macro(at, tasks, None)
        assert len(outcome.groups) == len(outcome.carry) == 3
        assert [name for name, _ in outcome.carry] == [group.task.id for group in outcome.groups]
        assert (outcome.metrics["resampled"] > 0) == (tries > 0)
        # Two steps for each distinct blueprint that was executed, replaced groups included.
        expected = 2 * 3 + 2 * 2 * outcome.metrics["resampled"]
        assert collector.usage.env_steps == expected
        micro = algo.micro(at, tasks, outcome.carry)
        assert [group.task for group in micro.groups] == [group.task for group in outcome.groups]
    assert all(group.task.kind == "blue" for group in outcomes[0].groups)
    assert all(group.task.kind != "blue" for group in outcomes[5].groups)
    assert all(row.advantages.any() for row in outcomes[5].rows)


def test_execution_groups_that_teach_nothing_are_replaced(make):
    """Another blueprint of the task stands in, one a try, as long as there are some; the steps of all are counted."""

    def plan(request, words):
        a, b = words
        return [f"1. say {a}\n2. say {b}", f"1. say {b}\n2. say {a}", f"1. say {b}\n2. say {a}\n3. say {b}", "x"][
            request.id[1]
        ]

    chosen, spent = {}, {}
    for tries in (0, 1, 5):
        algo, engine, collector = make(plan, resample_executions=tries)
        macro = algo.macro(AT, TASKS, None)
        before, obedient, met = collector.usage.env_steps, engine.reply, {}

        def reply(prompt, request, obedient=obedient, met=met):
            # Of the third blueprint, which succeeds in its third step, every other execution says nonsense there.
            task, _, seed, number = request.session
            order = met.setdefault(task, {})
            lost = number == 2 and order.setdefault(seed, len(order)) % 2
            return "fly" if lost else obedient(prompt, request)

        engine.reply = reply
        micro = algo.micro(AT, TASKS, macro.carry)
        assert [group.task for group in micro.groups] == TASKS
        chosen[tries] = [group.episodes[0].blueprint.subgoals for group in micro.groups]
        spent[tries] = (collector.usage.env_steps - before, micro.metrics["resampled"])
        assert any(row.advantages.any() for row in micro.rows) == (tries > 0)
    # z* succeeds in two steps always. The next by return is the one of three steps.
    assert [len(z) for z in chosen[0]] == [2, 2, 2]
    assert [len(z) for z in chosen[1]] == [len(z) for z in chosen[5]] == [3, 3, 3]
    assert spent[0] == (3 * 4 * 2, 0)
    assert spent[1][1] == spent[5][1] == 3
    assert spent[1][0] > 3 * 4 * (2 + 3)


def test_crashes_are_left_out(make):
    """Wrong blueprints of one task crash, all of another, and a third task's environment does not even start."""
    algo, engine, _ = make(half_right)
    obedient = engine.reply

    def reply(prompt, request):
        task, part, *_ = request.session
        said = obedient(prompt, request)
        wrong = said.startswith("gold") and request.session[3] == 0 if part == "exec" else False
        return "boom" if wrong or (part == "exec" and task == "blue-red") else said

    engine.reply = reply
    half, all_of_it, none = TASKS[0], TASKS[2], Task("broken", "red", {})
    outcome = algo.macro(AT, [half, all_of_it, none], None)
    assert (half.id, all_of_it.id) == ("blue-gold", "blue-red")
    (group,) = outcome.groups
    assert (group.task, [e.success for e in group.episodes]) == (half, [True, True])
    assert [name for name, _ in outcome.carry] == [half.id]
    assert len(outcome.rows) == 2
    assert not any(row.advantages.any() for row in outcome.rows), "a crash makes no success better than another"
    assert outcome.metrics["env_errors"] == 2 + 4 + 4
    assert not [r for r in engine.requests if r.session[0] == "broken"], "nothing is generated for an empty task"
    assert [group.task for group in algo.micro(AT, [half, all_of_it, none], outcome.carry).groups] == [half]


def test_a_crash_among_executions_does_not_move_the_mean(make):
    algo, engine, _ = make(half_right, score_executions=2)
    obedient = engine.reply

    def reply(prompt, request):
        return "boom" if request.session[1] == "exec" and request.session[2] % 2 else obedient(prompt, request)

    engine.reply = reply
    outcome = algo.macro(AT, TASKS, None)
    assert outcome.groups
    whole, _, _ = make(half_right)
    usual = {e.ret for group in whole.macro(AT, TASKS, None).groups for e in group.episodes}
    assert {e.ret for group in outcome.groups for e in group.episodes} <= usual
