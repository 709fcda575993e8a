"""Reflexion (Shinn et al., 2023): after a failed trial the model writes down what to do better in the next one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from himac.agents.parsing import THINK_TAG
from himac.agents.prompting import paragraphs
from himac.agents.react import ReactAgent
from himac.scene import Content
from himac.types import Turn

_ASK = """\
You are shown how you tried to solve a task and failed. Find out what went wrong: the first action that led nowhere, \
what you overlooked, what you did too often. Then write a short plan for the next attempt at the same task, which \
starts from the same state. Name the actions to take and those to avoid. Do not retell the attempt."""
_LEFT_OUT = "(earlier turns left out)"


class ReflexionAgent(ReactAgent):
    """ReAct with a memory of reflections on earlier trials at the same task."""

    reflections: tuple[str, ...] = ()

    def remembering(self, reflections: Sequence[str]) -> ReflexionAgent:
        """This agent with the newest `prompting.memory` of these reflections in its prompt."""
        other = copy.copy(self)
        other.reflections = tuple(text for text in reflections if text)[-self.config.prompting.memory :]
        return other

    def recollection(self) -> str:
        if not self.reflections:
            return ""
        notes = "\n".join(f"- {text}" for text in self.reflections)
        return f"You have tried this task before and failed. Your notes on what to do better, the newest last:\n{notes}"

    def reflection_prompt(
        self, instruction: str, opening: Content, turns: Sequence[Turn], outcome: str, room: int
    ) -> list[int]:
        """Token ids that ask what went wrong in a trial.

        Args:
            outcome: Why the trial ended.
            room: Most tokens; the oldest turns are left out to keep it, at worst all of them.
        """
        told = [f"Action: {turn.action}\n" + turn.observation for turn in turns]
        start = f"Task: {instruction}\n" + opening
        for first in range(len(told) + 1):
            gap = _LEFT_OUT if first else ""
            end = f"The attempt ended without success: {outcome}."
            ids = self.chat.open(paragraphs((_ASK, start, self.recollection(), gap, *told[first:], end)))
            if len(ids) <= room:
                break
        return ids

    def parse_reflection(self, token_ids: tuple[int, ...]) -> str:
        """The reflection on one line."""
        return " ".join(THINK_TAG.sub("", self.chat.decode_reply(token_ids)).split())
