"""ReAct (Yao et al., 2023): a thought before every action, both kept in the context."""

from __future__ import annotations

from himac.agents.prompting import PlainAgent

_FORM = """\
Answer every observation with a thought and exactly one action, in this form:
Thought: what you know, what is still to do, and what to do next
Action: the action"""


class ReactAgent(PlainAgent):
    """Reasons aloud in front of each action."""

    form = _FORM

    def reply(self, thought: str, action: str) -> str:
        return f"Thought: {thought}\nAction: {action}"
