"""Digests of recordings tell equal from different, and where."""

from __future__ import annotations

import pytest

from support.golden import Record, Trail

STEPS = ["reset", "go", "take", "win"]


def trail(*texts: str) -> Trail:
    made = Trail()
    for text in texts:
        made.add(text, 0.5, None, [True])
    return made


def recorded(*texts: str) -> Record:
    return {"id": "game"} | trail(*texts).record()


def test_equal_trails() -> None:
    trail("a", "b", "c", "d").assert_equal(recorded("a", "b", "c", "d"), STEPS)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("abxd", "game: differs from the original at step 2, 'take'"),
        ("xbcd", "game: differs from the original at step 0, 'reset'"),
        ("abc", "game: other steps"),
        ("abcdd", "game: other steps"),
    ],
)
def test_the_first_difference_is_named(texts: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        trail(*texts).assert_equal(recorded("a", "b", "c", "d"), STEPS)


def test_a_digest_counts_beside_its_marks() -> None:
    other = recorded("a", "b", "c", "d") | {"digest": recorded("a")["digest"]}
    with pytest.raises(AssertionError, match="game: differs from the original"):
        trail("a", "b", "c", "d").assert_equal(other, STEPS)
