"""Prompts for untrained models, and parsers that stand what such models write."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.parsing import Reply
from himac.agents.prompting import PlainAgent, PromptedHierarchicalAgent, labelled_action
from himac.agents.react import ReactAgent
from himac.agents.reflexion import ReflexionAgent
from himac.config_file import load_config
from himac.types import Turn
from support.toy import ByteTokenizer, ColourBenchmark

TOKENIZER = ByteTokenizer()
TOY = ColourBenchmark()
DEMO = TOY.demonstrate(TOY.tasks("train")[0], random.Random(0))


def config(*overrides: str) -> Any:
    return load_config(None, list(overrides)).agent


def read(ids: list[int]) -> str:
    return TOKENIZER.decode(ids)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: go to desk 1", "go to desk 1"),
        ("Thought: the apple may be there\nAction: go to desk 1", "go to desk 1"),
        ("thought: x\naction : go to desk 1  ", "go to desk 1"),
        ("**Thought:** x\n**Action:** `go to desk 1`", "go to desk 1"),
        ("Thought: x\n- Action: **go to desk 1**", "go to desk 1"),
        ("Action:\n\ngo to desk 1", "go to desk 1"),
        ('Action: "go to desk 1"', "go to desk 1"),
        ("> go to desk 1", "go to desk 1"),
        ("Sure, let me try.\ngo to desk 1", "go to desk 1"),
        ("<think>Action: look</think>Action: go to desk 1", "go to desk 1"),
        ("I will. <action>go to desk 1</action> Then I look.", "go to desk 1"),
        ("Action: go to desk 1\nObservation: you see a mug\nAction: take mug", "go to desk 1"),
        ("The action to take is: look\nAction: go to desk 1", "go to desk 1"),
        ("Action: search[red shoes]", "search[red shoes]"),
        ("Action:", ""),
        ("", ""),
        ("<think>never ended", ""),
    ],
)
def test_actions_are_found(text: str, action: str) -> None:
    assert labelled_action(text) == action


@given(st.text(max_size=80))
def test_any_reply_has_an_action_of_one_line(text: str) -> None:
    assert "\n" not in labelled_action(text)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Thought: x\nAction: take mug 1", Reply("take mug 1", False)),
        ("<sub_done>", Reply(None, True)),
        ("Thought: I hold the mug, so the goal is achieved.\n<sub_done>", Reply(None, True)),
        ("Thought: not <sub_done> yet\nAction: take mug 1", Reply("take mug 1", False)),
        ("Thought: last step\nAction: take mug 1\n<sub_done>", Reply("take mug 1", True)),
        ("Action: take mug 1 <sub_done>", Reply("take mug 1", True)),
        ("Action: <sub_done>", Reply(None, True)),
        ("<action>take mug 1</action><sub_done>", Reply("take mug 1", True)),
        ("<think>is it <sub_done>?</think>Action: look", Reply("look", False)),
        ("I do not know", Reply("I do not know", False)),
        ("", Reply("", False)),
    ],
)
def test_executor_replies(text: str, reply: Reply) -> None:
    agent = PromptedHierarchicalAgent(TOKENIZER, TOY.texts, config())
    assert agent.parse_reply(tuple(TOKENIZER.encode(text))) == reply


def test_without_sub_done_the_marker_is_not_honoured() -> None:
    agent = PromptedHierarchicalAgent(TOKENIZER, TOY.texts, config("agent.executor.sub_done=false"))
    assert agent.parse_reply(tuple(TOKENIZER.encode("Action: look\n<sub_done>"))) == Reply("look", False)
    assert agent.parse_reply(tuple(TOKENIZER.encode("<sub_done>"))) == Reply("", False)


def test_a_blueprint_after_reasoning() -> None:
    agent = PromptedHierarchicalAgent(TOKENIZER, TOY.texts, config())
    ids = tuple(TOKENIZER.encode("<think>1. no\n2. not this</think>Here is the plan:\n1. find mug\n2. clean mug"))
    assert agent.parse_blueprint(ids, True).subgoals == ("find mug", "clean mug")


@pytest.mark.parametrize("kind", [PlainAgent, ReactAgent, ReflexionAgent, PromptedHierarchicalAgent])
def test_every_role_may_write_as_much_as_prompting_allows(kind: Any) -> None:
    agent = kind(TOKENIZER, TOY.texts, config("agent.prompting.max_tokens=300", "agent.executor.step_limit=7"))
    parts = (agent.config.flat, agent.config.planner, agent.config.executor)
    assert [part.max_tokens for part in parts] == [300, 300, 300]
    assert agent.config.executor.step_limit == 7


def test_plain_prompt_asks_for_the_action_alone() -> None:
    agent = PlainAgent(TOKENIZER, TOY.texts, config("agent.prompting.instructions=Be quick."))
    prompt = read(agent.prompt("red blue", "start"))
    assert "Thought" not in prompt
    order = [prompt.index(part) for part in ("Be quick.", "Act.", "Action: the action", "start\nTask: red blue")]
    assert order == sorted(order)


def test_the_example_is_shown_in_the_agents_own_form_before_the_task() -> None:
    plain = read(PlainAgent(TOKENIZER, TOY.texts, config(), DEMO).prompt("red blue", "start"))
    react = read(ReactAgent(TOKENIZER, TOY.texts, config(), DEMO).prompt("red blue", "start"))
    first, second = DEMO.segments[0].turns[0], DEMO.segments[1].turns[0]
    assert f"Action: {first.action}\n\n{first.observation}\n\nAction: {second.action}" in plain
    assert f"Thought: I have to {DEMO.segments[0].subgoal}.\nAction: {first.action}" in react
    for prompt in (plain, react):
        assert prompt.index(str(second.action)) < prompt.index("Now it is your turn") < prompt.index("Task: red blue")


def test_hierarchical_prompts() -> None:
    agent = PromptedHierarchicalAgent(TOKENIZER, TOY.texts, config("agent.planner.max_subgoals=4"), DEMO)
    plan = read(agent.planner_prompt("red blue", "start"))
    assert "at most 4 sub-goals" in plan
    assert f"1. {DEMO.blueprint[0]}\n2. {DEMO.blueprint[1]}\n\nNow it is your turn." in plan
    assert plan.index("Now it is your turn") < plan.index("start\nTask: red blue")
    segment = DEMO.segments[0]
    act = read(agent.executor_prompt("say red", "start", "red blue"))
    assert f"Goal: {segment.subgoal}" in act
    assert f"Action: {segment.turns[0].action}\n\n{segment.turns[0].observation}\n\n<sub_done>" in act
    assert act.index("Now it is your turn") < act.index("start\nGoal: say red")
    assert DEMO.segments[1].subgoal not in act
    assert "red blue" not in act  # the executor does not see the task unless it is told to


def test_training_agents_are_as_terse_as_before() -> None:
    assert read(FlatAgent(TOKENIZER, TOY.texts, config()).prompt("red blue", "start")).startswith(
        "Act.\nstart\nTask: red blue"
    )
    agent = HierarchicalAgent(TOKENIZER, TOY.texts, config())
    assert read(agent.planner_prompt("red blue", "start")).startswith("Plan.\nstart\nTask: red blue")
    assert agent.config.executor.max_tokens == 24


def test_memory_keeps_the_newest_reflections() -> None:
    agent = ReflexionAgent(TOKENIZER, TOY.texts, config("agent.prompting.memory=2"))
    assert "tried this task before" not in read(agent.prompt("red blue", "start"))
    prompt = read(agent.remembering(["first note", "second note", "", "third note"]).prompt("red blue", "start"))
    assert "first note" not in prompt
    assert prompt.index("- second note\n- third note") < prompt.index("start\nTask: red blue")
    assert agent.reflections == ()  # the agent itself is shared by all episodes


def test_a_reflection_is_asked_for_with_as_much_of_the_trial_as_there_is_room() -> None:
    agent = ReflexionAgent(TOKENIZER, TOY.texts, config())
    turns = [Turn(f"act {n}", f"seen {n}", 0.0, False, False, 0, 0) for n in range(20)]
    whole = agent.reflection_prompt("red blue", "start", turns, "step limit", 10_000)
    assert all(f"Action: act {n}\nseen {n}\n" in read(whole) for n in range(20))
    assert "step limit" in read(whole)
    tight = agent.reflection_prompt("red blue", "start", turns, "step limit", len(whole) - 100)
    assert len(tight) <= len(whole) - 100
    assert "(earlier turns left out)" in read(tight)
    assert "act 0\n" not in read(tight)
    assert "Action: act 19\nseen 19" in read(tight)
    none = read(agent.reflection_prompt("red blue", "start", turns, "step limit", 10))
    assert "act 19" not in none
    assert "Task: red blue" in none


def test_reflections_become_one_line() -> None:
    agent = ReflexionAgent(TOKENIZER, TOY.texts, config())
    assert agent.parse_reflection(tuple(TOKENIZER.encode("<think>hm</think>\nLook  in\n\nthe fridge. "))) == (
        "Look in the fridge."
    )
