"""Trials at a task: memory between them, the same start, what is counted, and an engine that gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.react import ReactAgent
from himac.agents.reflexion import ReflexionAgent
from himac.config_file import load_config
from himac.engines.base import Completion, GenerateRequest
from himac.envs.pool import EnvPool
from himac.evaluation.trials import Spent, Trial, trials
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec, Proposal, flat_episode
from himac.types import StopReason, Task
from support.toy import ByteTokenizer, ColourBenchmark, ColourEnv, ScriptedEngine

TASK = Task("red-blue", "red", {"colours": ["red", "blue"]})
REFLECT = "went wrong"
Reply = Callable[[str, GenerateRequest], str]


class BillingEngine(ScriptedEngine):
    """Bills 100 + 10 tokens a request, and gives up where the scripted reply is GIVE UP."""

    def _complete(self, request: GenerateRequest) -> Completion:
        done = replace(super()._complete(request), billed=(100, 10))
        if not done.text.startswith("GIVE UP"):
            return done
        return replace(done, token_ids=(), logprobs=(), sampled=(), billed=None, error=done.text)


class SeedEnv(ColourEnv):
    """Keeps the seeds it was reset with."""

    seeds: list[int | None] = []  # noqa: RUF012 - of all instances

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)


def play(
    reply: Reply, kind: Any = ReflexionAgent, *overrides: str, engine: type[ScriptedEngine] = BillingEngine, **more: Any
) -> tuple[tuple[Trial, ...], ScriptedEngine]:
    config = load_config(None, ["env.step_limit=3", "agent.flat.max_repeats=0", *overrides])
    agent = kind(ByteTokenizer(), ColourBenchmark.texts, config.agent)
    scripted = engine(reply)
    SeedEnv.seeds.clear()
    with EnvPool(SeedEnv) as pool:
        spec = EpisodeSpec(ColourBenchmark(), config, 4000)
        (done,) = Collector(scripted, pool).run([trials(spec, agent, TASK, 0.0, 7, **more)])
    return done, scripted


def prompts(engine: ScriptedEngine) -> list[str]:
    return [engine.tokenizer.decode(request.prompt_ids) for request in engine.requests]


def learner(prompt: str, request: GenerateRequest) -> str:
    """Says green until its notes say otherwise, then solves the task."""
    if REFLECT in prompt:
        return f"Say red and blue (note {prompt.count('- Say red')})."
    if prompt.count("- Say red") < 2:
        return "Thought: I guess\nAction: green"
    return f"Action: {'blue' if 'you said red' in prompt else 'red'}"


def test_reflections_lead_to_success_and_everything_is_counted() -> None:
    told: list[tuple[int, str | None]] = []
    done, engine = play(
        learner, ReflexionAgent, "agent.prompting.trials=4", notify=lambda n, trial: told.append((n, trial.reflection))
    )
    assert [trial.episode.stop for trial in done] == [
        StopReason.STEP_LIMIT,
        StopReason.STEP_LIMIT,
        StopReason.SUCCESS,
    ]
    assert [trial.episode.env_steps for trial in done] == [3, 3, 2]
    first, second = "Say red and blue (note 0).", "Say red and blue (note 1)."
    assert [trial.reflection for trial in done] == [first, second, None]
    # A failed trial is told when it is over and again with its reflection; the last one is in the result.
    assert told == [(0, None), (0, first), (1, None), (1, second)]
    assert [trial.spent for trial in done] == [Spent(4, 400, 40), Spent(4, 400, 40), Spent(2, 200, 20)]
    assert SeedEnv.seeds == [7, 7, 7]  # every trial starts from the same state
    assert len({request.params.seed for request in engine.requests}) == len(engine.requests)
    assert len({request.session for request in engine.requests}) == 3 + 2
    assert set(engine.released) == {request.session for request in engine.requests}


def test_the_reflection_sees_the_trial_and_the_next_trial_sees_the_reflection() -> None:
    _, engine = play(learner)
    asked = [prompt for prompt in prompts(engine) if REFLECT in prompt]
    assert "Task: red blue\nstart" in asked[0]
    assert asked[0].count("Action: green\nyou said green") == 3
    assert "without success: step limit" in asked[0]
    trial = next(prompt for prompt in prompts(engine) if "- Say red" in prompt and REFLECT not in prompt)
    assert trial.index("- Say red and blue (note 0).") < trial.index("start\nTask: red blue")


def test_the_budget_of_trials_ends_them_without_a_last_reflection() -> None:
    done, engine = play(learner, ReflexionAgent, "agent.prompting.trials=2")
    assert len(done) == 2
    assert done[-1].reflection is None
    assert sum(REFLECT in prompt for prompt in prompts(engine)) == 1


def test_a_first_success_needs_no_second_trial() -> None:
    done, engine = play(lambda prompt, request: "Action: blue" if "you said red" in prompt else "Action: red")
    assert [trial.episode.success for trial in done] == [True]
    assert len(engine.requests) == 2


def test_other_agents_try_once_and_exactly_as_without_trials() -> None:
    done, engine = play(learner, ReactAgent)
    assert len(done) == 1
    config = load_config(None, ["env.step_limit=3", "agent.flat.max_repeats=0"])
    agent = ReactAgent(ByteTokenizer(), ColourBenchmark.texts, config.agent)
    other = ScriptedEngine(learner)
    with EnvPool(ColourEnv) as pool:
        spec = EpisodeSpec(ColourBenchmark(), config, 4000)
        (episode,) = Collector(other, pool).run([flat_episode(spec, agent, TASK, 0.0, 7, 7)])
    assert other.requests == engine.requests
    assert done[0].episode.turns == episode.turns
    assert done[0].episode.ret == episode.ret


def test_without_a_bill_tokens_are_those_of_the_sequences() -> None:
    done, engine = play(learner, ReactAgent, engine=ScriptedEngine)
    reply = len("Thought: I guess\nAction: green") + 1  # one token a byte, and the end
    assert done[0].spent == Spent(3, sum(len(request.prompt_ids) for request in engine.requests), 3 * reply)


@pytest.mark.parametrize(("billed", "spent"), [(None, Spent()), ((100, 0), Spent(1, 100, 0))])
def test_a_request_that_was_never_answered_costs_what_was_billed(billed: Any, spent: Spent) -> None:
    """An engine leaves a prompt that is too long unsent, and so with nothing written and no bill."""

    class Full(ScriptedEngine):
        def _complete(self, request: GenerateRequest) -> Completion:
            return Completion(request.id, (), (), (), "", finished=False, billed=billed)

    done, engine = play(learner, ReactAgent, engine=Full)
    assert done[0].spent == spent
    assert len(engine.requests) == 1


def test_hierarchical_agents_plan_and_follow_or_follow_what_is_given() -> None:
    def reply(prompt: str, request: GenerateRequest) -> str:
        if prompt.startswith("Plan."):
            return "1. say red\n2. say blue"
        return ("red" if "Goal: say red" in prompt else "blue") + "<sub_done>"

    done, _ = play(reply, HierarchicalAgent)
    assert done[0].episode.success
    assert done[0].episode.plan is not None
    assert done[0].spent.requests == 3
    done, _ = play(reply, HierarchicalAgent, proposal=Proposal.given(("say red",)))
    assert done[0].episode.stop is StopReason.PLAN_EXHAUSTED
    assert done[0].spent.requests == 1


def test_an_interrupted_series_goes_on() -> None:
    whole, engine = play(learner)
    for known in (1, 2):
        for reflected in (False, True):
            last = whole[known - 1]
            past = [*whole[: known - 1], last if reflected else replace(last, reflection=None)]
            done, again = play(learner, past=past)
            assert [trial.reflection for trial in done] == [trial.reflection for trial in whole]
            assert [trial.episode.turns for trial in done] == [trial.episode.turns for trial in whole]
            assert prompts(again) == prompts(engine)[-len(again.requests) :]  # not one request more than needed
            assert len(SeedEnv.seeds) == len(whole) - known


@pytest.mark.parametrize("kind", [ReactAgent, ReflexionAgent])
def test_an_engine_that_gives_up_ends_the_episode_and_the_series(kind: Any) -> None:
    def reply(prompt: str, request: GenerateRequest) -> str:
        return "GIVE UP: no answer" if prompt.count("you said") == 2 else "Action: green"

    done, engine = play(reply, kind)
    assert len(done) == 1
    episode = done[0].episode
    assert (episode.stop, episode.error) == (StopReason.ENGINE_ERROR, "GIVE UP: no answer")
    assert episode.env_steps == 2
    assert not episode.success
    assert done[0].spent == Spent(2, 200, 20)
    # The failure penalty, and that of an invalid action for each of the three steps of the limit.
    assert episode.ret == pytest.approx(-1.0 - 3 * 0.1)
    assert len(engine.requests) == 3


def test_an_engine_that_gives_up_on_a_plan_or_a_reflection() -> None:
    done, _ = play(lambda prompt, request: "GIVE UP", HierarchicalAgent)
    assert (done[0].episode.stop, done[0].episode.env_steps) == (StopReason.ENGINE_ERROR, 0)

    done, _ = play(lambda prompt, request: "GIVE UP" if REFLECT in prompt else "Action: green")
    assert len(done) == 1
    assert done[0].episode.stop is StopReason.ENGINE_ERROR
    assert len(done[0].episode.turns) == 3  # the trial itself is known
    assert done[0].spent == Spent(3, 300, 30)


def test_a_broken_environment_ends_the_series() -> None:
    done, _ = play(lambda prompt, request: "Action: boom")
    assert [trial.episode.stop for trial in done] == [StopReason.ENV_ERROR]


def test_many_tasks_at_once_keep_their_memories_apart() -> None:
    def reply(prompt: str, request: GenerateRequest) -> str:
        task = prompt.split("Task: ")[1].split("\n")[0]
        if REFLECT in prompt:
            return f"Remember {task}."
        assert all(f"Remember {task}." in line for line in prompt.splitlines() if line.startswith("- Remember"))
        return "Action: green"

    config = load_config(None, ["env.step_limit=2", "agent.flat.max_repeats=0"])
    agent = ReflexionAgent(ByteTokenizer(), ColourBenchmark.texts, config.agent)
    spec = EpisodeSpec(ColourBenchmark(), config, 4000)
    tasks: Sequence[Task] = [task for task in ColourBenchmark().tasks("train") if "green" not in task.id]
    with EnvPool(ColourEnv) as pool:
        programs = [trials(spec, agent, task, 0.0, 1) for task in tasks]
        results = Collector(BillingEngine(reply), pool).run(programs)
    assert [len(done) for done in results] == [3] * len(tasks)
    assert [done[0].reflection for done in results] == [
        f"Remember {' '.join(task.options['colours'])}." for task in tasks
    ]
