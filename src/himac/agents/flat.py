"""The flat ReAct-style agent: one append-only context for the whole episode."""

from __future__ import annotations

from himac.agents.base import AgentBase
from himac.agents.parsing import clean_action
from himac.agents.recorder import SegmentRecorder
from himac.types import Demonstration, Role, Row


class FlatAgent(AgentBase):
    """Prompts and parser of a policy without hierarchy; thoughts stand in `<think>` tags before the action."""

    def prompt(self, instruction: str, observation: str) -> list[int]:
        """Token ids that open the episode."""
        return self.chat.open(
            "\n".join(part for part in (self.texts.flat, observation, f"Task: {instruction}") if part)
        )

    def turn(self, observation: str, instruction: str) -> list[int]:
        """Token ids of the next observation."""
        reminder = f"\nTask: {instruction}" if self.config.flat.repeat_task else ""
        return self.chat.follow(observation + reminder)

    def parse_action(self, token_ids: tuple[int, ...]) -> str:
        """Total parser; an empty action is left to the environment to reject."""
        return clean_action(self.chat.decode_reply(token_ids))

    def demo_rows(self, demo: Demonstration, context_weight: float = 0.0) -> list[Row]:
        """One row: the sub-goal becomes a thought before the first action that serves it."""
        recorder = SegmentRecorder(Role.FLAT, self.prompt(demo.instruction, demo.observation))
        pending: str | None = None
        for segment in demo.segments:
            thought = f"<think>{segment.subgoal}</think>" if self.config.flat.thoughts else ""
            for turn in segment.turns:
                if turn.action is None:
                    continue
                if pending is not None:
                    recorder.given(self.turn(pending, demo.instruction))
                ids = self.chat.encode_reply(thought + turn.action)
                if turn.train:
                    recorder.reply(ids)
                else:
                    recorder.given(ids, mistake=True)
                thought, pending = "", turn.observation
        return [recorder.demo_row(demo.task.id, context_weight)]
