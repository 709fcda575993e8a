"""Agents for models that were not trained for the task: full rules, the form of an answer, and a solved example.

The agents of training leave most of this out, because their model has learnt it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.parsing import SUB_DONE, THINK_TAG, Reply, clean_action, format_blueprint, parse_blueprint
from himac.config import AgentConfig
from himac.scene import Content, join
from himac.types import Blueprint, Demonstration, DemoTurn, PromptTexts

_LABELLED = re.compile(r"^[\s*_`#>-]*action[\s*_`]*:[\s*_`]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_TAG = "<action>"
_DRESS = "*_`\"' "

_PLAIN_FORM = """\
Answer every observation with one line of this form and nothing else:
Action: the action"""
_PLAN_FORM = """\
Answer with a numbered list of at most {most} sub-goals, one a line ("1. ...", "2. ..."), without sub-items and with \
nothing after the list. Another agent will carry out the sub-goals one after the other and sees only one at a time, so \
each must make sense by itself."""
_EXECUTOR_FORM = """\
Answer every observation in this form:
Thought: what you conclude, in one sentence
Action: one action
As soon as the goal is achieved, or if it was before you did anything, answer <sub_done> instead. Do not go on to \
anything else than this goal."""


def labelled_action(text: str) -> str:
    """The action of a free-form reply: in `<action>` tags, else in the first line `Action: ...`, else the last line.

    What a model makes up after its first action (observations, more actions) is not listened to.
    """
    body = THINK_TAG.sub("", text)
    found = None if _TAG in body.lower() else _LABELLED.search(body)
    return (found[1] if found else clean_action(body)).strip(_DRESS)


def roomy(config: AgentConfig) -> AgentConfig:
    """The configuration with `prompting.max_tokens` for the replies of every role."""
    roles = {
        name: getattr(config, name).model_copy(update={"max_tokens": config.prompting.max_tokens})
        for name in ("planner", "executor", "flat")
    }
    return config.model_copy(update=roles)


def paragraphs(parts: Iterable[Content]) -> Content:
    """The parts that are not empty, an empty line between them."""
    return join("\n\n", parts)


class PlainAgent(FlatAgent):
    """Asks for the next action and nothing else.

    Args:
        example: A demonstration of another task, shown in this agent's own form.
    """

    form = _PLAIN_FORM

    def __init__(
        self, tokenizer: Any, texts: PromptTexts, config: AgentConfig, example: Demonstration | None = None
    ) -> None:
        super().__init__(tokenizer, texts, roomy(config))
        self.example = example

    def prompt(self, instruction: str, observation: Content) -> list[int]:
        """Token ids that open the episode: rules, form, example, what is remembered, first observation, task."""
        rules = paragraphs((self.config.prompting.instructions, self.texts.flat))
        start = observation + f"\nTask: {instruction}"
        return self.chat.open(paragraphs((rules, self.form, self._shown(), self.recollection(), start)))

    def parse_action(self, token_ids: tuple[int, ...]) -> str:
        """Total parser; an empty action is left to the environment to reject."""
        return labelled_action(self.chat.decode_reply(token_ids))

    def reply(self, thought: str, action: str) -> str:
        """An answer in this agent's form."""
        return f"Action: {action}"

    def recollection(self) -> str:
        """What is known from earlier attempts at this task; nothing here."""
        return ""

    def _shown(self) -> Content:
        if self.example is None:
            return ""
        demo = self.example
        parts = list[Content](("Here is a solved example.", demo.observation + f"\nTask: {demo.instruction}"))
        for segment in demo.segments:
            parts += [
                self.reply(f"I have to {segment.subgoal}.", turn.action) + "\n\n" + turn.observation
                for turn in segment.turns
                if turn.action is not None and turn.train
            ]
        return paragraphs([*parts, "This is the end of the example. Now it is your turn."])


class PromptedHierarchicalAgent(HierarchicalAgent):
    """Planner and executor of HiMAC for a model that was trained for neither.

    Args:
        example: A demonstration of another task: its blueprint for the planner, its first sub-goal for the executor.
    """

    def __init__(
        self, tokenizer: Any, texts: PromptTexts, config: AgentConfig, example: Demonstration | None = None
    ) -> None:
        super().__init__(tokenizer, texts, roomy(config))
        self.example = example

    def planner_prompt(self, instruction: str, observation: Content) -> list[int]:
        """Token ids that ask for a blueprint."""
        form = _PLAN_FORM.format(most=self.config.planner.max_subgoals)
        shown: Content = ""
        if self.example is not None:
            given = self._situation(self.example.instruction, self.example.observation)
            plan = format_blueprint(self.example.blueprint)
            shown = "Here is an example.\n\n" + given + f"\n\n{plan}\n\nNow it is your turn."
        start = self._situation(instruction, observation)
        return self.chat.open(paragraphs((shown, start)), self._rules(self.texts.planner, form) + "\n")

    def parse_blueprint(self, token_ids: tuple[int, ...], finished: bool) -> Blueprint:
        """Total parser of the planner's reply; lists in `<think>` tags are no blueprint."""
        text = THINK_TAG.sub("", self.chat.decode_reply(token_ids))
        return parse_blueprint(text, self.config.planner.max_subgoals, finished)

    def executor_prompt(self, subgoal: str, start: Content, instruction: str) -> list[int]:
        """Token ids that open a segment."""
        shown: Content = ""
        if self.example is not None and self.example.segments:
            first = self.example.segments[0]
            turns = join("\n\n", (_spelled(turn, first.subgoal) for turn in first.turns if turn.train))
            goal = f"\nGoal: {first.subgoal}\n\n"
            shown = "Here is an example.\n\n" + first.start + goal + turns + "\n\nNow it is your turn."
        task = f"Task that the goal is a part of: {instruction}" if self.config.executor.sees_task else ""
        here = join("\n", (task, start, f"Goal: {subgoal}"))
        return self.chat.open(paragraphs((shown, here)), self._rules(self.texts.executor, _EXECUTOR_FORM) + "\n")

    def parse_reply(self, token_ids: tuple[int, ...]) -> Reply:
        """Total parser: the first action, `<sub_done>` after it, or `<sub_done>` in a reply without action."""
        body = THINK_TAG.sub("", self.chat.decode_reply(token_ids))
        found = _LABELLED.search(body)
        if found is None and _TAG not in body.lower() and SUB_DONE in body:
            action, done = None, True
        else:
            # A thought may mention the marker: only what stands behind the action counts.
            action, marker, _ = labelled_action(body).partition(SUB_DONE)
            action = action.strip(_DRESS)
            done = bool(marker) or SUB_DONE in body[found.end() if found else body.lower().rfind(_TAG) :]
            action = action or (None if done else "")
        if self.config.executor.sub_done:
            return Reply(action, done)
        return Reply(action or "", False)

    def _rules(self, *texts: str) -> str:
        return "\n\n".join(filter(None, (self.config.prompting.instructions, *texts)))

    def _situation(self, instruction: str, observation: Content) -> Content:
        seen = observation if self.config.planner.sees_observation else ""
        return join("\n", (seen, f"Task: {instruction}"))


def _spelled(turn: DemoTurn, subgoal: str) -> Content:
    if turn.action is None:
        return SUB_DONE
    done = f"\n{SUB_DONE}" if turn.sub_done else ""
    reply = f"Thought: I have to {subgoal}.\nAction: {turn.action}{done}"
    return reply if done else reply + "\n\n" + turn.observation
