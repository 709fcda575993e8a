"""When and after how long a request is tried again."""

from __future__ import annotations

import random

import pytest

from himac.engines.openai.retry import is_passing, pause, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),  # 100 s after the epoch, and it is 60 s now
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=60.0) == seconds


def test_pauses_double_up_to_the_bound_with_jitter() -> None:
    rng = random.Random(0)
    for tries, longest in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (5000, 5.0)]:
        drawn = [pause(tries, None, 5.0, rng) for _ in range(200)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
        assert max(drawn) - min(drawn) > longest / 4


def test_never_earlier_than_asked() -> None:
    rng = random.Random(0)
    drawn = [pause(3, 7.0, 60.0, rng) for _ in range(200)]
    # 7 s and up to a quarter of the own pause of at most 2 s, so that not all come back at once.
    assert 7.0 <= min(drawn) < max(drawn) <= 7.5


def test_which_statuses_pass() -> None:
    passing = {status for status in (200, 400, 401, 403, 404, 408, 409, 422, 425, 429, 500, 502, 503, 529)
               if is_passing(status)}  # fmt: skip
    assert passing == {408, 409, 425, 429, 500, 502, 503, 529}
