"""When to try a request again, and after how long."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

RETRIED_STATUS = frozenset({408, 409, 425, 429})
_FIRST_S = 0.5


def is_passing(status: int) -> bool:
    """Whether an HTTP status tells of a fault that may be gone on the next try."""
    return status in RETRIED_STATUS or status >= 500


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds the endpoint asks to wait: `retry-after-ms`, or `retry-after` as seconds or a date; `None` without.

    Args:
        now: Unix time, for dates.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
            except ValueError:
                continue
        if seconds == seconds:  # "nan" is a number to float()
            return max(seconds, 0.0)
    return None


def pause(tries: int, asked: float | None, longest: float, rng: random.Random) -> float:
    """Seconds before the next try: doubling from half a second, with jitter, and no less than the endpoint asked for.

    Args:
        tries: Tries that have failed, at least 1.
        asked: What `retry_after` gave.
        longest: Bound of the doubling.
    """
    own = min(_FIRST_S * 2.0 ** min(tries - 1, 60), longest) * rng.uniform(0.5, 1.0)
    return own if asked is None else asked + own * rng.uniform(0.0, 0.25)
