"""The HiPER agent (arXiv 2602.16165): every reply keeps or switches the sub-goal before it acts."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from itertools import takewhile

from himac.agents.flat import FlatAgent
from himac.agents.parsing import THINK_TAG, clean_action
from himac.scene import Content, join

RULES = "Reply in two lines: KEEP or SWITCH: <sub-goal>, then > <action>."

# The first line that is not blank, or HiPER's own tags anywhere.
_LINE = re.compile(r"\s*(KEEP|SWITCH)[ \t]*(?::[ \t]*([^\n]*))?(?:\r?\n|$)", re.IGNORECASE)
_SWITCH_TAG = re.compile(r"<switch>(.*?)</switch>", re.DOTALL | re.IGNORECASE)
_SUBGOAL_TAG = re.compile(r"<subgoal>(.*?)</subgoal>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reply decides.

    Attributes:
        formed: The reply says KEEP or SWITCH. One that does not counts as KEEP.
        subgoal: The sub-goal it names, `None` without one. KEEP may repeat it.
        action: Text for the environment, possibly empty.
        switch_end, subgoal_end: Where the switch decision and the sub-goal end in the text; the action is the rest.
    """

    formed: bool
    switch: bool
    subgoal: str | None
    action: str
    switch_end: int
    subgoal_end: int


@dataclass(frozen=True, slots=True)
class Spans:
    """The parts of one reply as token slices. They follow one another and leave no token out."""

    switch: slice
    subgoal: slice
    action: slice


def parse_decision(text: str) -> Decision:
    """Read a reply: `KEEP` or `SWITCH: <sub-goal>` on the first line and `> <action>` below.

    HiPER's own tags are read too: `<switch>KEEP</switch><subgoal>..</subgoal><action>..</action>`. Reasoning in
    `<think>` tags is ignored.
    """
    body = THINK_TAG.sub(lambda thought: " " * len(thought.group()), text)  # places stay the same
    word, named, switch_end, rest = "", "", 0, 0
    subgoal_end: int | None = None
    if (line := _LINE.match(body)) is not None:
        word, named = line.group(1), line.group(2) or ""
        switch_end, subgoal_end, rest = line.end(1), line.end(2), line.end()
    else:
        if (tag := _SWITCH_TAG.search(body)) is not None:
            word, switch_end, rest = tag.group(1).strip(), tag.end(), tag.end()
        if (goal := _SUBGOAL_TAG.search(body, rest)) is not None:
            named, subgoal_end, rest = goal.group(1), goal.end(), goal.end()
    subgoal = " ".join(named.split())
    return Decision(
        formed=word.upper() in ("KEEP", "SWITCH"),
        switch=word.upper() == "SWITCH",
        subgoal=subgoal or None,
        action=clean_action(body[rest:]),
        switch_end=switch_end,
        subgoal_end=subgoal_end if subgoal and subgoal_end is not None else switch_end,
    )


class HiperAgent(FlatAgent):
    """A flat policy that writes down when it switches to which sub-goal."""

    section = "hiper"

    def prompt(self, instruction: str, observation: Content) -> list[int]:
        """Token ids that open the episode."""
        # Always with the rules: a model warm-started in several formats tells them apart by the prompt.
        return self.chat.open(join("\n", [self.texts.flat, RULES, observation, f"Task: {instruction}"]))

    def decide(self, token_ids: tuple[int, ...]) -> Decision:
        """Total parser of a reply."""
        return parse_decision(self.chat.decode_reply(token_ids))

    def parse_action(self, token_ids: tuple[int, ...]) -> str:
        return self.decide(token_ids).action

    def spans(self, token_ids: tuple[int, ...]) -> Spans:
        """Which tokens of a reply are its switch decision, its sub-goal and its action.

        A token belongs to the part in which its first character stands; the end token to the action. Where a token
        starts is seen from how far the text of the tokens before it agrees with the whole, whatever the tokenizer.
        """
        text = self.chat.decode_reply(token_ids)
        decision = parse_decision(text)

        def start(token: int) -> int:
            before = self.chat.decode_reply(token_ids[:token])
            return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, text, strict=False)))

        count = len(token_ids)
        switch_end, subgoal_end = (
            bisect_left(range(count), end, key=start) for end in (decision.switch_end, decision.subgoal_end)
        )
        return Spans(slice(0, switch_end), slice(switch_end, subgoal_end), slice(subgoal_end, count))

    def lead(self, subgoal: str, first: bool) -> str:
        """SWITCH with the sub-goal before the first action that serves it, KEEP before the others."""
        goal = " ".join(subgoal.split())
        if first:
            return f"SWITCH: {goal}\n> "
        return f"KEEP: {goal}\n> " if self.config.hiper.restate else "KEEP\n> "
