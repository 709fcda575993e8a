import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.agents.parsing import SUB_DONE, Reply, format_blueprint, parse_blueprint, parse_reply

near_misses = st.lists(
    st.sampled_from(
        [
            *("1.", "2)", "3:", "1", ".", "\n", " ", "take mug", "<sub_done>", "<action>", "</action>", "<think>"),
            *("</think>", "Action:", ">", "\x00", "é", "999999999999999999999", "-1.", "<sub_", "done>"),
        ]
    ),
    max_size=30,
).map("".join)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_a_result(data, finished):
    for text in (data.decode(errors="replace"), data.decode("latin-1")):
        plan = parse_blueprint(text, 4, finished)
        assert plan.valid == bool(plan.subgoals)
        assert len(plan.subgoals) <= 4
        reply = parse_reply(text)
        assert reply.action is not None or reply.sub_done


@given(near_misses)
def test_near_misses_give_a_result(text):
    plan = parse_blueprint(text, 4)
    assert plan.valid == bool(plan.subgoals)
    aloud = re.sub(r"(?is)<think>.*?(</think>|$)", "", text)
    assert parse_reply(text).sub_done == (SUB_DONE in aloud)


goal = st.from_regex(r"[a-z][a-z ,()]{0,20}[a-z)]", fullmatch=True).map(lambda s: " ".join(s.split()))


@given(st.lists(goal, min_size=1, max_size=6).filter(lambda g: all(a != b for a, b in pairwise(g))))
def test_format_and_parse_are_inverse(goals):
    assert parse_blueprint(format_blueprint(tuple(goals)), 6).subgoals == tuple(goals)


@pytest.mark.parametrize(
    ("text", "finished", "reason"),
    [
        ("1. a\n2. b", False, "cut off"),
        ("do it", True, "no numbered list"),
        ("1. a\n3. b", True, "out of order"),
        ("1. a\n2. b\n3. c\n4. d", True, "more than 3"),
        ("1. a\n2. a", True, "twice in a row"),
        ("1. a\nand so on", True, "text after"),
    ],
)
def test_invalid_blueprints_say_why(text, finished, reason):
    plan = parse_blueprint(text, 3, finished)
    assert plan.subgoals == ()
    assert reason in plan.malformed


def test_reasoning_before_the_list_is_allowed():
    assert parse_blueprint("The mug is hidden.\n\n1. find  mug\n2) take mug", 3).subgoals == ("find mug", "take mug")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("go to bed 1", Reply("go to bed 1")),
        ("<sub_done>", Reply(None, True)),
        ("  <sub_done> ", Reply(None, True)),
        ("take mug 1<sub_done>", Reply("take mug 1", True)),
        ("<think>a\nb</think><action>look</action>", Reply("look")),
        ("I should look.\nAction: look", Reply("look")),
        ("> inventory", Reply("inventory")),
        ("", Reply("")),
        ("<think>never closed", Reply("")),
        ("<think>then I say <sub_done>, not yet</think>look", Reply("look")),
        ("<think>done</think><sub_done>", Reply(None, True)),
        ("<think>is it <sub_done>?", Reply("")),
    ],
)
def test_replies(text, reply):
    assert parse_reply(text) == reply
