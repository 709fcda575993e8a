"""Episodes over the toy benchmark with a scripted engine: contexts, stop reasons, floors, masks."""

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.recorder import SegmentRecorder
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.evaluation.summary import summarise
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec, Proposal, execute, flat_episode, propose
from himac.rollout.rows import execution_rows, planner_rows, turn_rows
from himac.types import Blueprint, Group, Role, StopReason, Task
from support.toy import ByteTokenizer, ColourBenchmark, ColourEnv, ScriptedEngine

TASK = Task("red-blue", "red", {"colours": ["red", "blue"]})


def config(*overrides):
    return load_config(None, ["env.step_limit=6", "agent.executor.step_limit=3", "agent.max_context=400", *overrides])


def run(program, reply, cut=(), workers=0):
    engine = ScriptedEngine(reply, cut)
    with EnvPool(ColourBenchmark().make_env, workers=workers) as pool:
        collector = Collector(engine, pool, max_live=3)
        return collector.run([program])[0], engine


def spec(cfg):
    return EpisodeSpec(ColourBenchmark(), cfg, cfg.agent.max_context)


def hierarchical(cfg):
    return HierarchicalAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)


def given_plan(*goals):
    recorder = SegmentRecorder(Role.PLANNER, [5, 6])
    recorder.reply([7, 8], [-0.1, -0.2])
    return Proposal(Blueprint(goals), recorder.segment())


def play(replies, plan, *overrides, cut=()):
    """Run a plan with scripted executor replies; the transcript of prompts is kept by the engine."""
    cfg = config(*overrides)
    script = iter(replies)
    program = execute(spec(cfg), hierarchical(cfg), TASK, plan, 1.0, 1, 1)
    return run(program, lambda prompt, request: next(script), cut)


def test_success_and_contexts():
    episode, engine = play(["red", "<sub_done>", "blue"], given_plan("say red", "say blue"))
    assert episode.stop is StopReason.SUCCESS
    assert episode.ret == 10.0
    assert episode.env_steps == 2
    prompts = [engine.tokenizer.decode(request.prompt_ids) for request in engine.requests]
    assert prompts[1].startswith(prompts[0])  # append-only inside a segment
    assert "say blue" not in prompts[1]
    assert "say red" not in prompts[2]  # a segment does not see the one before it
    assert "you said red" in prompts[2]
    assert [segment.subgoal for segment in episode.segments] == ["say red", "say blue"]
    assert len({request.session for request in engine.requests}) == 2
    assert set(engine.released) == {request.session for request in engine.requests}


def test_only_replies_are_trained_and_they_are_what_was_sampled():
    episode, engine = play(["red", "<sub_done>", "blue"], given_plan("say red", "say blue"))
    group = Group("g", TASK, (episode,))
    rows = execution_rows(group, [2.0])
    spelled = [engine.tokenizer.decode(row.input_ids[row.loss_mask]) for row in rows]
    assert spelled == ["red<sub_done>", "blue"]
    for row in rows:
        assert not row.loss_mask[0]
        np.testing.assert_array_equal(row.old_logprobs != 0, row.loss_mask)
        np.testing.assert_array_equal(row.advantages, np.where(row.loss_mask, 2.0, 0.0))
        assert row.role is Role.EXECUTOR
    plan_row = planner_rows(group, [1.0])[0]
    assert plan_row.role is Role.PLANNER
    np.testing.assert_array_equal(plan_row.loss_mask, [False, False, True, True])


@pytest.mark.parametrize(
    ("replies", "goals", "overrides", "stop", "steps"),
    [
        (["<sub_done>", "<sub_done>"], ("say red", "say blue"), (), StopReason.PLAN_EXHAUSTED, 0),
        (["gold"] * 9, ("say red",), (), StopReason.SUBGOAL_BUDGET, 3),
        (["gold"] * 9, ("say red",), ("agent.executor.step_limit=9",), StopReason.STEP_LIMIT, 6),
        (["fly"] * 9, ("say red",), ("agent.executor.max_repeats=2",), StopReason.FAILURE, 2),
        (["fly"] * 9, ("say red",), ("agent.executor.failure_keywords=[Nothing]",), StopReason.FAILURE_KEYWORD, 1),
        (["boom"], ("say red",), (), StopReason.ENV_ERROR, 0),
        (["gold"] * 9, ("say red",), ("agent.max_context=45",), StopReason.CONTEXT_LIMIT, None),
        (["gold"] * 6, ("say red", "say blue"), ("agent.executor.sub_done=false",), StopReason.STEP_LIMIT, 6),
        (["red<sub_done>", "blue"], ("say red", "say blue"), (), StopReason.SUCCESS, 2),
    ],
)
def test_stop_reasons(replies, goals, overrides, stop, steps):
    episode, _ = play(replies, given_plan(*goals), *overrides)
    assert episode.stop is stop
    if steps is not None:
        assert episode.env_steps == steps
    assert (episode.ret > 0) == (stop is StopReason.SUCCESS)


def test_malformed_blueprint_gets_the_floor_without_a_step():
    plan = Proposal(Blueprint((), "no numbered list"), given_plan("x").plan)
    episode, engine = play([], plan)
    assert episode.stop is StopReason.MALFORMED_BLUEPRINT
    assert engine.requests == []
    assert episode.ret == pytest.approx(-1.0 + 6 * -0.1)  # penalty, and every step as bad as a step can be


def test_padding_a_plan_never_pays():
    """With the same executor, junk sub-goals after the failing ones return no more than the plan without them."""
    short, _ = play(["gold<sub_done>", "gold<sub_done>"], given_plan("say red", "say blue"))
    padded, _ = play(["gold<sub_done>"] * 2 + ["<sub_done>"] * 3, given_plan("say red", "say blue", "a", "b", "c"))
    assert padded.ret <= short.ret


def test_a_reply_cut_by_the_length_cap_is_closed_by_a_forced_token():
    episode, _ = play(["goldgoldgold", "red<sub_done>"], given_plan("say red"), cut=("goldgoldgold",))
    segment = episode.segments[0]
    end = segment.turns[0].end
    assert segment.token_ids[end] == 0
    assert not segment.sampled[end]
    assert segment.logprobs[end] == 0


def test_environment_crash_keeps_its_traceback():
    episode, _ = play(["boom"], given_plan("say red"))
    assert "the toy broke" in episode.error


def test_the_turn_of_a_crash_does_not_repeat_the_answer_before_it():
    episode, _ = play(["fly", "boom"], given_plan("say red"))
    assert [turn.observation for turn in episode.turns] == ["Nothing happens.", ""]
    assert [turn.invalid for turn in episode.turns] == [True, False]


def test_a_row_ends_with_its_last_sampled_token():
    """The observation that overflowed the context is longer than the model may read, and trains nothing."""
    episode, _ = play(["gold"] * 9, given_plan("say red"), "agent.max_context=45")
    assert episode.stop is StopReason.CONTEXT_LIMIT
    segment = episode.segments[0]
    row = execution_rows(Group("g", TASK, (episode,)), [1.0])[0]
    assert len(row.input_ids) == segment.turns[-1].end <= 45 < len(segment.token_ids)
    assert row.loss_mask.sum() == segment.sampled.sum()
    assert {len(v) for v in (row.loss_mask, row.old_logprobs, row.advantages)} == {len(row.input_ids)}


def test_anchors_are_what_was_seen_before_the_reply():
    """A rejected action leaves the state, and its anchor, as they were."""
    episode, _ = play(["red", "<sub_done>", "fly", "blue"], given_plan("say red", "say blue"))
    assert [turn.anchor for turn in episode.turns] == ["start", "you said red", "you said red", "you said red"]


class LabelledColours(ColourEnv):
    """Names its states itself."""

    def reset(self, **given):
        observation, info = super().reset(**given)
        return observation, info | {"anchor": "nothing said"}

    def step(self, action):
        observation, *rest, info = super().step(action)
        return observation, *rest, info | {"anchor": f"{len(self.said)} said"}


@pytest.mark.parametrize("kind", ["flat", "hierarchical"])
def test_an_environment_may_name_its_states(kind):
    cfg = config(f"agent.name={kind}")
    replies = iter(["fly", "red", "blue"])
    if kind == "flat":
        agent = FlatAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
        program = flat_episode(spec(cfg), agent, TASK, 1.0, 1, 1)
    else:
        program = execute(spec(cfg), hierarchical(cfg), TASK, given_plan("say both"), 1.0, 1, 1)
    with EnvPool(LabelledColours) as pool:
        (episode,) = Collector(ScriptedEngine(lambda *_: next(replies)), pool).run([program])
    assert episode.success
    assert [turn.anchor for turn in episode.turns] == ["nothing said", "0 said", "1 said"]


def test_an_environment_that_fails_before_planning():
    """Nothing is planned, and the episodes of these proposals are the environment's failure, not the planner's."""
    cfg = config()
    broken = Task("broken", "red", {})
    proposals, engine = run(propose(spec(cfg), hierarchical(cfg), broken, 3, 1.0, 1, 1), lambda *_: "1. say red")
    assert engine.requests == []
    assert len(proposals) == 3
    assert all(not proposal.blueprint.valid and proposal.plan is None for proposal in proposals)
    episode, _ = run(execute(spec(cfg), hierarchical(cfg), broken, proposals[0], 1.0, 1, 1), lambda *_: "")
    assert episode.stop is StopReason.ENV_ERROR
    assert episode.broken
    assert "KeyError" in episode.error


def test_rows_with_an_advantage_for_each_turn():
    episode, _ = play(["red", "<sub_done>", "blue"], given_plan("say red", "say blue"))
    first, second = turn_rows(Group("g", TASK, (episode,)), [[1.0, -2.0, 3.0]])
    for row, segment, values in zip((first, second), episode.segments, ([1.0, -2.0], [3.0]), strict=True):
        expected = np.zeros(len(segment.token_ids))
        for turn, value in zip(segment.turns, values, strict=True):
            expected[turn.start : turn.end] = value
        np.testing.assert_array_equal(row.advantages, np.where(row.loss_mask, expected[: len(row.input_ids)], 0))
        np.testing.assert_array_equal(row.advantages != 0, row.loss_mask)
    with pytest.raises(AssertionError, match="2 advantages for 3 turns"):
        turn_rows(Group("g", TASK, (episode,)), [[1.0, -2.0]])


@pytest.mark.parametrize("workers", [0, 1])
def test_flat_episode(workers):
    cfg = config("agent.name=flat")
    agent = FlatAgent(ByteTokenizer(), ColourBenchmark.texts, cfg.agent)
    script = iter(["<think>say red</think>red", "blue"])
    program = flat_episode(spec(cfg), agent, TASK, 1.0, 1, 1)
    episode, engine = run(program, lambda *_: next(script), workers=workers)
    assert episode.stop is StopReason.SUCCESS
    assert len(episode.segments) == 1
    row = execution_rows(Group("g", TASK, (episode,)), [1.0])[0]
    assert engine.tokenizer.decode(row.input_ids[row.loss_mask]) == "<think>say red</think>redblue"


def test_proposals_share_prompt_and_differ_in_seed():
    cfg = config()
    program = propose(spec(cfg), hierarchical(cfg), TASK, 4, 1.0, 1, 1)
    proposals, engine = run(program, lambda prompt, request: "1. say red\n2. say blue")
    assert [p.blueprint.subgoals for p in proposals] == [("say red", "say blue")] * 4
    assert len({tuple(r.prompt_ids) for r in engine.requests}) == 1
    assert len({r.params.seed for r in engine.requests}) == 4


def test_many_episodes_finish_in_order_whatever_order_the_engine_answers():
    cfg = config()
    tasks = ColourBenchmark().tasks("train") * 3

    def reply(prompt, request):
        goal = prompt.rsplit("Goal: ", 1)[1].split("\n", 1)[0]
        return goal.removeprefix("say ") + "<sub_done>"

    engine = ScriptedEngine(reply)
    with EnvPool(ColourBenchmark().make_env) as pool:
        collector = Collector(engine, pool, max_live=5)
        programs = [
            execute(spec(cfg), hierarchical(cfg), t, given_plan(*(f"say {c}" for c in t.options["colours"])), 1.0, n, n)
            for n, t in enumerate(tasks)
        ]
        episodes = collector.run(programs)
    assert [e.task.id for e in episodes] == [t.id for t in tasks]
    assert all(e.success for e in episodes)
    assert collector.usage.env_steps == 2 * len(tasks)


class ScoredEnv(ColourEnv):
    """A benchmark with a score of its own: 30 points a colour."""

    def reset(self, **given):
        observation, info = super().reset(**given)
        return observation, info | {"score": 0.0}

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info | {"score": 30.0 * len(self.said)}


def test_the_benchmarks_own_score_is_kept():
    cfg = config()
    scores = []
    for replies in (["red", "<sub_done>"], ["<sub_done>"]):
        script = iter(replies)
        engine = ScriptedEngine(lambda prompt, request, script=script: next(script))
        with EnvPool(ScoredEnv) as pool:
            program = execute(spec(cfg), hierarchical(cfg), TASK, given_plan("say red"), 1.0, 1, 1)
            scores.append(Collector(engine, pool).run([program])[0])
    assert [episode.score for episode in scores] == [30.0, 0.0]
    assert summarise(scores)["score"] == 15.0
    assert "score" not in summarise([play(["<sub_done>"], given_plan("say red"))[0]])


def test_a_malformed_blueprint_scores_what_the_start_does():
    cfg = config()
    with EnvPool(ScoredEnv) as pool:
        collector = Collector(ScriptedEngine(lambda prompt, request: "no list"), pool)
        (proposals,) = collector.run([propose(spec(cfg), hierarchical(cfg), TASK, 1, 1.0, 1, 1)])
        (episode,) = collector.run([execute(spec(cfg), hierarchical(cfg), TASK, proposals[0], 1.0, 1, 1)])
    assert episode.stop is StopReason.MALFORMED_BLUEPRINT
    assert episode.score == 0.0
