"""Nested executions over the toy benchmark with a scripted engine."""

import re
from collections import defaultdict

import numpy as np
import pytest

from himac.agents.hierarchical import HierarchicalAgent
from himac.algos.advantages import group_relative
from himac.algos.base import PhaseContext
from himac.algos.branching import uncertain_start
from himac.algos.himac_plus import HimacPlus, HimacPlusConfig
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.errors import EnvironmentFailureError
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.sampling import HierarchicalSampler
from himac.types import Blueprint, Boundary, Episode, Role, StopReason
from support.toy import ByteTokenizer, ColourBenchmark, ColourEnv, RestorableColours, ScriptedEngine

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
def make(request):
    def build(answer=reply, env=ColourEnv, workers=0, **settings):
        cfg = load_config(None, ["env.step_limit=6", "agent.max_context=400"])
        pool = EnvPool(env, workers)
        request.addfinalizer(pool.close)
        collector = Collector(ScriptedEngine(answer), pool, max_live=8)
        agent = HierarchicalAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
        sampler = HierarchicalSampler(EpisodeSpec(ColourBenchmark(), cfg, 400), agent, collector)
        sizes = {"tasks": 3, "num_blueprints": PLANS, "num_rollouts": EXECUTIONS}
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


def wavering(prompt, request):
    """Half of the blueprints are right. Of those the first sub-goal succeeds, the second in two of three executions."""
    if prompt.startswith("Plan."):
        a, b = re.search(r"Task: (\w+) (\w+)", prompt).groups()
        return f"1. say {a}\n2. say {b}" if request.id[1] < 2 else f"1. say {b}\n2. say {a}"
    goal = prompt.rsplit("Goal: ", 1)[1].split("\n", 1)[0].removeprefix("say ")
    _, _, seed, number = request.session
    return "fly" if number == 1 and seed % 3 == 0 else f"{goal}<sub_done>"


ENVS = {"snapshots": RestorableColours, "replay": ColourEnv}


def sampled(algo):
    """What `algo` will sample: executions and branches, as they come."""
    execute, branch, found = algo.sampler.execute, algo.sampler.branch, ([], [])

    def executing(*args, **kwargs):
        done = execute(*args, **kwargs)
        found[0].extend(episode for part in done for episode in part)
        return done

    def branching(*args):
        found[1].extend(branch(*args))
        return found[1]

    algo.sampler.execute, algo.sampler.branch = executing, branching
    return found


def steps(segments):
    return sum(turn.action is not None for segment in segments for turn in segment.turns)


@pytest.mark.parametrize("kind", ENVS)
def test_branches_cost_their_own_steps(make, kind, monkeypatch):
    """Where there are no snapshots the steps before them are taken, and counted, again."""
    taken = []
    step = ColourEnv.step
    monkeypatch.setattr(ColourEnv, "step", lambda self, action: taken.append(action) or step(self, action))
    algo, collector = make(wavering, ENVS[kind], branches=4)
    executions, branches = sampled(algo)
    outcome = algo.nested(AT, TASKS, None)
    assert len(executions) == 3 * PLANS * EXECUTIONS
    assert len(branches) == outcome.metrics["branches"] == 3 * 4
    assert {e.success for e in branches} == {True, False}
    assert outcome.metrics["branch_success"] == np.mean([e.success for e in branches])
    shared = sum(steps(e.segments[: e.shared]) for e in branches)
    assert shared > 0
    assert outcome.metrics["replayed_steps"] == (shared if kind == "replay" else 0)
    own = sum(steps(e.own) for e in (*executions, *branches))
    assert len(taken) == collector.usage.env_steps == own + outcome.metrics["replayed_steps"]
    assert all(e.env_steps == steps(e.segments) for e in branches), "the record is of the whole episode"
    assert [len(g.episodes) for g in outcome.groups] == [PLANS * EXECUTIONS] * 3, "branches are no measure of success"


def content(rows):
    return [[value.tolist() for value in (r.input_ids, r.loss_mask, r.old_logprobs, r.advantages)] for r in rows]


def test_branches_are_the_same_by_replay_and_in_workers(make):
    ways = [(env, workers) for env in ENVS.values() for workers in (0, 1)]
    seen = [content(make(wavering, env, workers, branches=4)[0].nested(AT, TASKS, None).rows) for env, workers in ways]
    assert all(rows == seen[0] for rows in seen)


def test_without_branches_nothing_changes(make):
    """No request but the usual ones; and with branches the executions and the planner's rows are the same."""
    algo, collector = make(wavering, RestorableColours)
    submit, asked = collector.pool.submit, set()
    collector.pool.submit = lambda handle, command: asked.add(command[0]) or submit(handle, command)
    plain = algo.nested(AT, TASKS, None)
    assert asked == {"reset", "step"}
    assert set(plain.metrics) == {"env_errors", "resampled"}
    branching, _ = make(wavering, RestorableColours, branches=4)
    more = branching.nested(AT, TASKS, None)
    assert [[e.ret for e in g.episodes] for g in more.groups] == [[e.ret for e in g.episodes] for g in plain.groups]
    assert content(by_role(more, Role.PLANNER)) == content(by_role(plain, Role.PLANNER))


def test_a_branch_trains_its_own_tokens_and_is_compared_where_it_starts(make):
    algo, _ = make(wavering, RestorableColours, branches=4, step_weight=0.0)
    _, branches = sampled(algo)
    outcome = algo.nested(AT, TASKS, None)
    rows, trained = iter(by_role(outcome, Role.EXECUTOR)), set()
    for number, group in enumerate(outcome.groups):
        executions = [next(rows) for e in group.episodes for _ in e.segments]
        assert len(executions) == sum(len(e.segments) for e in group.episodes)
        family = branches[4 * number : 4 * number + 4]
        (origin,) = [e for e in group.episodes if e.segments[0] is family[0].segments[0]]
        mean = np.mean([e.ret for e in (origin, *family)])
        for branch in family:
            assert (branch.plan, branch.segments[0], branch.shared) == (origin.plan, origin.segments[0], 1)
            (row,) = [next(rows) for _ in branch.own]
            np.testing.assert_allclose(row.advantages[row.loss_mask], branch.ret - mean, atol=1e-5)
            trained.add(float(np.sign(row.advantages[row.loss_mask][0])))
    assert next(rows, None) is None
    assert trained >= {-1.0, 1.0}


class MoodyColours(ColourEnv):
    """Says in which episode it is."""

    episodes = 0

    def reset(self, **given):
        type(self).episodes += 1
        return super().reset(**given)

    def step(self, action):
        observation, *rest = super().step(action)
        return f"{observation} ({self.episodes})", *rest


def test_an_environment_that_does_not_repeat_is_refused(make):
    algo, _ = make(wavering, MoodyColours, branches=4)
    with pytest.raises(EnvironmentFailureError, match=r"said 'you said .* so no branch can start there; make it"):
        algo.nested(AT, TASKS, None)


def test_a_crash_on_the_way_leaves_a_branch_out(make, monkeypatch):
    """Replays are the episodes after the planning and the executions."""
    resets, reset = [], ColourEnv.reset

    def breaking(self, **given):
        resets.append(1)
        if len(resets) > 3 + 3 * PLANS * EXECUTIONS + 2:
            raise RuntimeError("the toy broke")
        return reset(self, **given)

    monkeypatch.setattr(ColourEnv, "reset", breaking)
    algo, _ = make(wavering, branches=4)
    outcome = algo.nested(AT, TASKS, None)
    assert (outcome.metrics["branches"], outcome.metrics["env_errors"]) == (2, 10)


def passed(name, *outcomes):
    """Executions of the blueprint `name` that passed as many boundaries as each says, with success or without."""
    blueprint = Blueprint((name, "b", "c"))
    stops = {True: StopReason.SUCCESS, False: StopReason.PLAN_EXHAUSTED}
    return [
        Episode(TASKS[0], 0, blueprint, None, (), 0.0, stops[won], 1)
        if not count
        else Episode(
            *(TASKS[0], 0, blueprint, None, (), 0.0, stops[won], 1),
            boundaries=tuple(Boundary(n + 1, {}, None) for n in range(count)),
        )
        for count, won in outcomes
    ]


@pytest.mark.parametrize(
    ("episodes", "where"),
    [
        # Expected p (1 - p): 3 of 4 passed and won 2 * 4 / (6 * 7) = 0.190 against 2 of 4 with 3 * 3 / 42 = 0.214.
        (passed("a", *[(1, True)] * 3, (1, False)) + passed("z", *[(1, True)] * 2, *[(1, False)] * 2), ("z", 1)),
        # The same executions passed both: the later one.
        (passed("a", (2, True), (2, False)), ("a", 2)),
        # 1 of 2 at the first, 2 * 2 / 20 = 0.2; 0 of 1 at the second, 1 * 2 / 12 = 0.167.
        (passed("a", (1, True), (2, False)), ("a", 1)),
        # Nobody succeeds: where fewest have been, 0.167 against 1 * 5 / 42 = 0.119.
        (passed("a", (2, False), *[(1, False)] * 3), ("a", 2)),
        (passed("a", (2, True), (2, True)), None),
        (passed("a", (0, False), (0, True)), None),
    ],
)
def test_branches_start_where_success_is_least_certain(episodes, where):
    start = uncertain_start(episodes, 1)
    assert (start and (start[0].blueprint.subgoals[0], start[1].done)) == where
