"""The KEEP/SWITCH agent: total parser, token spans, demonstrations."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.agents.flat import FlatAgent
from himac.agents.hiper import RULES, HiperAgent, parse_decision
from himac.config import AgentConfig
from himac.config_file import load_config
from himac.types import Demonstration, DemoSegment, DemoTurn, Task
from support.toy import ByteTokenizer, ColourBenchmark

PIECES = ["KEEP", "SWITCH", ":", " find a mug", "\n", "\r\n", "> ", "go north", "<switch>", "</switch>", "<subgoal>"]
PIECES += ["</subgoal>", "<action>", "</action>", "<think>", "</think>", "é", "\x00", "\u2028", "<eos>", " ", "keep"]


class PairTokenizer(ByteTokenizer):
    """Tokens of two bytes, so that they straddle parts and characters."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [0] if text == self.eos_token else self.cut(text.encode())

    @staticmethod
    def cut(data: bytes) -> list[int]:
        return [1 + int.from_bytes(data[i : i + 2].ljust(2, b"\xff"), "big") for i in range(0, len(data), 2)]

    def decode(self, ids, **_):
        return b"".join((i - 1).to_bytes(2, "big").rstrip(b"\xff") for i in ids if i > 0).decode(errors="replace")


@pytest.fixture
def agent() -> HiperAgent:
    return HiperAgent(ByteTokenizer(), ColourBenchmark.texts, AgentConfig())


@pytest.mark.parametrize(
    ("text", "formed", "switch", "subgoal", "action"),
    [
        ("KEEP\n> go north", True, False, None, "go north"),
        ("SWITCH: find a mug\n> go north", True, True, "find a mug", "go north"),
        ("switch:find  a mug \r\ngo north", True, True, "find a mug", "go north"),
        ("KEEP: find a mug\nAction: go north", True, False, "find a mug", "go north"),
        ("\n KEEP \n\n> go north\n", True, False, None, "go north"),
        ("<think>SWITCH: x</think>KEEP\n> go", True, False, None, "go"),
        ("SWITCH\n> go", True, True, None, "go"),
        ("SWITCH:\n> go", True, True, None, "go"),
        ("SWITCH:", True, True, None, ""),
        ("KEEP", True, False, None, ""),
        ("<switch>SWITCH</switch><subgoal>find\na mug</subgoal><action>go</action>", True, True, "find a mug", "go"),
        ("<switch>keep</switch>\n<subgoal>x</subgoal>\n<action>go</action> bye", True, False, "x", "go"),
        ("<switch>SWITCH</switch>\n> go", True, True, None, "go"),
        # Not in the format: kept, and all of it is the action.
        ("go north", False, False, None, "go north"),
        ("switch on the lamp", False, False, None, "switch on the lamp"),
        ("> go north\nSWITCH: late", False, False, None, "SWITCH: late"),
        ("<switch>maybe</switch><action>go</action>", False, False, None, "go"),
        ("<subgoal>open <action>x</action>", False, False, None, "x"),
        ("", False, False, None, ""),
    ],
)
def test_replies(text: str, formed: bool, switch: bool, subgoal: str | None, action: str) -> None:
    decision = parse_decision(text)
    assert (decision.formed, decision.switch, decision.subgoal, decision.action) == (formed, switch, subgoal, action)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_the_parser_is_total(text: str) -> None:
    decision = parse_decision(text)
    assert 0 <= decision.switch_end <= decision.subgoal_end <= len(text)
    assert (decision.subgoal is None) == (decision.switch_end == decision.subgoal_end)


@given(
    parts=st.lists(st.sampled_from(PIECES).map(str.encode) | st.binary(max_size=5), max_size=10),
    pairs=st.booleans(),
    end=st.booleans(),
)
def test_spans_of_any_bytes_cover_every_token(parts: list[bytes], pairs: bool, end: bool) -> None:
    reply = b"".join(parts)
    agent = HiperAgent(PairTokenizer() if pairs else ByteTokenizer(), ColourBenchmark.texts, AgentConfig())
    ids = (*(PairTokenizer.cut(reply) if pairs else (1 + byte for byte in reply)), *((0,) if end else ()))
    spans = agent.spans(ids)
    assert spans.switch.start == 0
    assert spans.action.stop == len(ids)
    assert spans.switch.stop == spans.subgoal.start <= spans.subgoal.stop == spans.action.start
    agent.parse_action(ids)


def spelled(agent: HiperAgent, text: str) -> list[str]:
    ids = tuple(agent.chat.encode_reply(text))
    spans = agent.spans(ids)
    return [agent.tokenizer.decode(ids[part]) for part in (spans.switch, spans.subgoal, spans.action)]


def test_spans_draw_the_parts(agent: HiperAgent) -> None:
    assert spelled(agent, "SWITCH: find a mug\n> go é") == ["SWITCH", ": find a mug", "\n> go é"]
    assert spelled(agent, "SWITCH: café\n> go") == ["SWITCH", ": café", "\n> go"]
    assert spelled(agent, "KEEP\n> go") == ["KEEP", "", "\n> go"]
    assert spelled(agent, "go") == ["", "", "go"]
    tags = ["<switch>SWITCH</switch>", "<subgoal>a</subgoal>", "<action>go</action>"]
    assert spelled(agent, "".join(tags)) == tags
    ids = tuple(agent.chat.encode_reply("KEEP\n> go"))
    assert agent.spans(ids).action == slice(4, len(ids)), "the end token belongs to the action"


def test_a_token_belongs_to_the_part_of_its_first_character() -> None:
    agent = HiperAgent(PairTokenizer(), ColourBenchmark.texts, AgentConfig())
    # SW IT CH ": " fi nd | odd sub-goal: the newline shares a token with its last letter
    assert spelled(agent, "SWITCH: find\n> go") == ["SWITCH", ": find", "\n> go"]
    assert spelled(agent, "SWITCH: finds\n> go") == ["SWITCH", ": finds\n", "> go"]


def test_a_flat_policy_with_its_own_limits_and_rules() -> None:
    config = load_config(None, ["agent.hiper.max_tokens=7", "agent.hiper.repeat_task=true"]).agent
    agent = HiperAgent(ByteTokenizer(), ColourBenchmark.texts, config)
    assert isinstance(agent, FlatAgent)
    assert agent.limits.max_tokens == 7
    text = agent.tokenizer.decode(agent.prompt("red blue", "start"))
    assert text == f"Act.\n{RULES}\nstart\nTask: red blue\n\n> "
    assert "Task: red blue" in agent.tokenizer.decode(agent.turn("seen", "red blue"))


def test_demonstrations_switch_at_segment_starts_and_drop_bare_markers(agent: HiperAgent) -> None:
    demo = ColourBenchmark().demonstrate(Task("t", "k", {"colours": ["red", "blue"]}), random.Random(0))
    longer = DemoSegment(
        "say both", "x", (DemoTurn("gold", "oops", train=False), DemoTurn("red", "r"), DemoTurn("blue", "b"))
    )
    demo = Demonstration(demo.task, demo.instruction, demo.observation, (*demo.segments, longer), True)
    (row,) = agent.demo_rows(demo)
    trained = agent.tokenizer.decode(row.input_ids[row.loss_mask])
    assert trained == "SWITCH: say red\n> redSWITCH: say blue\n> blueKEEP\n> redKEEP\n> blue"
    whole = agent.tokenizer.decode(row.input_ids)
    assert "SWITCH: say both\n> gold" in whole
    assert "sub_done" not in whole
    assert int(row.loss_mask.sum()) == len(trained) + 4, "each reply ends with the end token"
    restate = HiperAgent(ByteTokenizer(), ColourBenchmark.texts, load_config(None, ["agent.hiper.restate=true"]).agent)
    (row,) = restate.demo_rows(demo)
    assert "KEEP: say both\n> blue" in restate.tokenizer.decode(row.input_ids[np.flatnonzero(row.loss_mask)])


def test_demonstrations_are_read_back(agent: HiperAgent) -> None:
    for first in (True, False):
        decision = parse_decision(agent.lead("find a mug (in a drawer)", first) + "open drawer 1")
        assert decision.formed
        assert decision.switch is first
        assert decision.subgoal == ("find a mug (in a drawer)" if first else None)
        assert decision.action == "open drawer 1"
