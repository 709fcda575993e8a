"""The flat ReAct-style agent: one append-only context for the whole episode."""

from __future__ import annotations

from typing import ClassVar

from himac.agents.base import AgentBase
from himac.agents.parsing import clean_action
from himac.agents.recorder import SegmentRecorder
from himac.config import EpisodePolicyConfig
from himac.scene import Content, join
from himac.types import Demonstration, Role


class FlatAgent(AgentBase):
    """Prompts and parser of a policy without hierarchy; thoughts stand in `<think>` tags before the action."""

    section: ClassVar[str] = "flat"
    """Of the configuration of agents."""

    @property
    def limits(self) -> EpisodePolicyConfig:
        """Settings of this policy's replies."""
        limits: EpisodePolicyConfig = getattr(self.config, self.section)
        return limits

    def prompt(self, instruction: str, observation: Content) -> list[int]:
        """Token ids that open the episode."""
        return self.chat.open(join("\n", (observation, f"Task: {instruction}")), self.texts.flat)

    def turn(self, observation: Content, instruction: str) -> list[int]:
        """Token ids of the next observation."""
        reminder = f"\nTask: {instruction}" if self.limits.repeat_task else ""
        return self.chat.follow(observation + reminder)

    def parse_action(self, token_ids: tuple[int, ...]) -> str:
        """Total parser; an empty action is left to the environment to reject."""
        return clean_action(self.chat.decode_reply(token_ids))

    def reply_limit(self, role: Role) -> tuple[str, int]:
        return f"agent.{self.section}.max_tokens", self.limits.max_tokens

    def demonstrated(self, demo: Demonstration) -> list[SegmentRecorder]:
        """One context; each reply is `lead` and the action."""
        recorder = SegmentRecorder(Role.FLAT, self.prompt(demo.instruction, demo.observation))
        pending: Content | None = None
        for segment in demo.segments:
            first = True
            for turn in segment.turns:
                if turn.action is None:
                    continue
                if pending is not None:
                    recorder.given(self.turn(pending, demo.instruction))
                ids = self.chat.encode_reply(self.lead(segment.subgoal, first) + turn.action)
                if turn.train:
                    recorder.reply(ids)
                else:
                    recorder.given(ids, mistake=True)
                first, pending = False, turn.observation
        return [recorder]

    def lead(self, subgoal: str, first: bool) -> str:
        """What a demonstrated reply says before its action: a thought before the first one that serves a sub-goal."""
        return f"<think>{subgoal}</think>" if first and self.config.flat.thoughts else ""
