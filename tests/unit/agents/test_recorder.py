"""Segments are built token by token, and every token knows where it came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.agents.recorder import SegmentRecorder
from himac.rollout.rows import segment_row
from himac.types import Role, Turn


def test_a_segment_is_as_old_as_its_oldest_reply() -> None:
    recorder = SegmentRecorder(Role.FLAT, [1])
    assert recorder.segment().policy_version == 0  # nothing was sampled
    recorder.reply([2], version=4)
    recorder.given([3])
    recorder.reply([4], version=5)
    assert recorder.segment().policy_version == 4


def test_prompt_replies_and_observations() -> None:
    recorder = SegmentRecorder(Role.EXECUTOR, [1, 2, 3], "take apple")
    assert recorder.reply([4, 5], [-0.5, -0.25]) == (3, 5)
    recorder.turn(Turn("go", "seen", 0.0, False, False, 3, 5))
    recorder.given([6])
    assert recorder.reply([7, 8, 9], [-1.0, -2.0, -3.0], [True, True, False]) == (6, 9)
    segment = recorder.segment()
    assert len(recorder) == 9
    assert segment.token_ids.tolist() == list(range(1, 10))
    assert segment.sampled.tolist() == [False] * 3 + [True] * 2 + [False] + [True, True, False]
    assert segment.logprobs.tolist() == [0, 0, 0, -0.5, -0.25, 0, -1, -2, 0], "a forced token has no log-probability"
    assert (segment.role, segment.subgoal, len(segment.turns)) == (Role.EXECUTOR, "take apple", 1)
    assert [a.dtype for a in (segment.token_ids, segment.sampled, segment.logprobs)] == [np.int32, np.bool_, np.float32]


def test_a_frozen_segment_does_not_follow_the_recorder() -> None:
    recorder = SegmentRecorder(Role.FLAT, [1])
    segment = recorder.segment()
    recorder.reply([2])
    assert segment.token_ids.tolist() == [1]


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        SegmentRecorder(Role.FLAT, [1]).reply([2, 3], [-1.0], [True, True])


def test_demonstrated_replies_are_imitated_and_mistakes_are_not() -> None:
    recorder = SegmentRecorder(Role.EXECUTOR, [1, 2])
    recorder.reply([3, 4])
    recorder.given([5])
    recorder.given([6, 7], mistake=True)
    recorder.given([8])
    recorder.reply([9])
    replies = recorder.demo_row("task")
    assert replies.input_ids.tolist() == list(range(1, 10))
    assert replies.input_ids[replies.loss_mask].tolist() == [3, 4, 9]
    assert (replies.role, replies.group_id) == (Role.EXECUTOR, "task")
    everything = recorder.demo_row("task", 0.25)
    assert everything.input_ids[everything.loss_mask].tolist() == [2, 3, 4, 5, 8, 9], "no first token, no mistake"
    weights = dict(zip(everything.input_ids.tolist(), everything.advantages.tolist(), strict=True))
    assert weights == {1: 0, 2: 0.25, 3: 1, 4: 1, 5: 0.25, 6: 0, 7: 0, 8: 0.25, 9: 1}


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=5),
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 99), max_size=4)), max_size=6),
)
def test_what_is_trained_is_what_was_sampled(prompt: list[int], pieces: list[tuple[bool, list[int]]]) -> None:
    """For any sequence of pieces, a row ends with the last reply and its mask is on the replies' tokens only."""
    recorder = SegmentRecorder(Role.PLANNER, prompt)
    expected, total = [False] * len(prompt), len(prompt)
    for mine, ids in pieces:
        if mine:
            assert recorder.reply(ids, [-1.0] * len(ids)) == (total, total + len(ids))
        else:
            recorder.given(ids)
        expected += [mine] * len(ids)
        total += len(ids)
    row = segment_row(recorder.segment(), 2.0, "g")
    end = max((place + 1 for place, flag in enumerate(expected) if flag), default=1)
    expected = expected[:end]
    assert row.input_ids.tolist() == (prompt + [token for _, ids in pieces for token in ids])[:end]
    assert row.loss_mask.tolist() == expected
    assert row.advantages.tolist() == [2.0 * flag for flag in expected]
    assert row.old_logprobs.tolist() == [-1.0 * flag for flag in expected]
