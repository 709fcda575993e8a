"""The hierarchical agent: one model as planner and as executor; only the prompt differs."""

from __future__ import annotations

import re

from himac.agents.base import AgentBase
from himac.agents.parsing import SUB_DONE, Reply, format_blueprint, parse_blueprint, parse_reply
from himac.agents.recorder import SegmentRecorder
from himac.scene import Content, join
from himac.types import Blueprint, Demonstration, DemoTurn, Role

_LAST_REMARK = re.compile(r" \([^()]*\)$")


class HierarchicalAgent(AgentBase):
    """Prompts and parsers of macro and micro policy.

    The executor's context is its rules, the active sub-goal, the observation at the segment's start and the turns of
    this segment: the "temporal attention mask" of Section 3.2.
    """

    def planner_prompt(self, instruction: str, observation: Content) -> list[int]:
        """Token ids that ask for a blueprint."""
        parts = [observation if self.config.planner.sees_observation else "", f"Task: {instruction}"]
        return self.chat.open(join("\n", parts), self.texts.planner)

    def parse_blueprint(self, token_ids: tuple[int, ...], finished: bool) -> Blueprint:
        """Total parser of the planner's reply."""
        return parse_blueprint(self.chat.decode_reply(token_ids), self.config.planner.max_subgoals, finished)

    def executor_prompt(self, subgoal: str, start: Content, instruction: str) -> list[int]:
        """Token ids that open a segment."""
        task = f"Task: {instruction}" if self.config.executor.sees_task else ""
        return self.chat.open(join("\n", [task, start, f"Goal: {subgoal}"]), self.texts.executor)

    def executor_turn(self, observation: Content, subgoal: str) -> list[int]:
        """Token ids of the next observation inside a segment."""
        reminder = f"\nGoal: {short_form(subgoal)}" if self.config.executor.repeat_subgoal else ""
        return self.chat.follow(observation + reminder)

    def parse_reply(self, token_ids: tuple[int, ...]) -> Reply:
        """Total parser of the executor's reply; without `<sub_done>` (ablation) the marker is not honoured."""
        reply = parse_reply(self.chat.decode_reply(token_ids))
        if self.config.executor.sub_done:
            return reply
        return Reply(reply.action or "", False)

    def reply_limit(self, role: Role) -> tuple[str, int]:
        policy = self.config.planner if role is Role.PLANNER else self.config.executor
        return f"agent.{role}.max_tokens", policy.max_tokens

    def demonstrated(self, demo: Demonstration) -> list[SegmentRecorder]:
        """One context of the planner and one of the executor a segment."""
        planner = SegmentRecorder(Role.PLANNER, self.planner_prompt(demo.instruction, demo.observation))
        planner.reply(self.chat.encode_reply(format_blueprint(demo.blueprint)))
        contexts = [planner]
        for segment in demo.segments:
            prompt = self.executor_prompt(segment.subgoal, segment.start, demo.instruction)
            recorder = SegmentRecorder(Role.EXECUTOR, prompt, segment.subgoal)
            for number, turn in enumerate(segment.turns):
                ids = self.chat.encode_reply(_spell(turn))
                if turn.train:
                    recorder.reply(ids)
                else:
                    recorder.given(ids, mistake=True)
                if number + 1 < len(segment.turns):
                    recorder.given(self.executor_turn(turn.observation, segment.subgoal))
            contexts.append(recorder)
        return contexts


def short_form(subgoal: str) -> str:
    """The sub-goal without what stands in parentheses at its end: what a reminder repeats."""
    return _LAST_REMARK.sub("", subgoal)


def _spell(turn: DemoTurn) -> str:
    return (turn.action or "") + (SUB_DONE if turn.sub_done else "")
