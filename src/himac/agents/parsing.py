"""Total parsers: any text gives a result, never an exception."""

from __future__ import annotations

import re
from dataclasses import dataclass

from himac.types import Blueprint

SUB_DONE = "<sub_done>"
MARKS = (SUB_DONE, "<think>", "</think>")
"""What a reply may hold as a control token, where the tokenizer has one. As plain letters it is read the same."""

_ITEM = re.compile(r"\s*(\d{1,3})\s*[.):]\s*(\S.*?)\s*$", re.DOTALL)
_ACTION_TAG = re.compile(r"<action>(.*?)(?:</action>|$)", re.DOTALL | re.IGNORECASE)
THINK_TAG = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:>|action\s*:)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an executor or flat reply asks for.

    Attributes:
        action: Text for the environment; `None` only for a bare `<sub_done>`.
        sub_done: The sub-goal is over (after the action, when there is one).
    """

    action: str | None
    sub_done: bool = False


def parse_blueprint(text: str, max_subgoals: int, finished: bool = True) -> Blueprint:
    """Read a numbered list of sub-goals.

    Text before item 1 (reasoning) is ignored; text after the list is not. The result is malformed when the reply was
    cut off, has no list, is numbered out of order, is longer than `max_subgoals`, or repeats a sub-goal in a row.
    """
    if not finished:
        return Blueprint((), "cut off before its end")
    goals: list[str] = []
    for line in text.splitlines():
        match = _ITEM.match(line)
        if match is None:
            if goals and line.strip():
                return Blueprint((), "text after the list")
            continue
        if int(match.group(1)) != len(goals) + 1:
            return Blueprint((), "items out of order")
        goals.append(" ".join(match.group(2).split()))
        if len(goals) > max_subgoals:
            return Blueprint((), f"more than {max_subgoals} sub-goals")
        if len(goals) > 1 and goals[-1] == goals[-2]:
            return Blueprint((), "the same sub-goal twice in a row")
    if not goals:
        return Blueprint((), "no numbered list")
    return Blueprint(tuple(goals))


def format_blueprint(subgoals: tuple[str, ...]) -> str:
    """The text whose `parse_blueprint` gives these sub-goals back."""
    return "\n".join(f"{number}. {goal}" for number, goal in enumerate(subgoals, 1))


def parse_reply(text: str) -> Reply:
    """Read one reply of an executor: an action, `<sub_done>`, or an action followed by `<sub_done>`.

    Reasoning in `<think>` tags is dropped; an action may stand in `<action>` tags, after `Action:` or `>`, or alone as
    the last line. A reply with neither becomes the empty action, which environments reject.
    """
    before, marker, _ = THINK_TAG.sub("", text).partition(SUB_DONE)  # a thought may mention the marker
    sub_done = bool(marker)
    action = clean_action(before)
    if sub_done and not action:
        return Reply(None, True)
    return Reply(action, sub_done)


def clean_action(text: str) -> str:
    """The action inside a free-form reply, possibly empty."""
    body = THINK_TAG.sub("", text)
    tags = _ACTION_TAG.findall(body)
    if tags:
        body = tags[-1]
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    return _LABEL.sub("", lines[-1]).strip() if lines else ""
