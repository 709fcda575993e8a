"""A sample of every attack; `make attack` makes them all."""

from __future__ import annotations

import pytest

from attack.base import Attack
from attack.registry import ATTACKS
from attack.runner import run
from attack.selftest import dies, hangs_once


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_sample_breaks_nothing(attack: Attack) -> None:
    outcome = run(attack, attack.sample)
    assert outcome.tried == attack.sample
    assert outcome.failures == []


def test_an_attempt_that_hangs_or_dies_is_a_failure() -> None:
    """Otherwise an attack could not fail."""
    hung = run(Attack("hangs", hangs_once, 3, 3, limit_s=1.0), 3)
    assert (hung.tried, len(hung.failures)) == (3, 1)
    died = run(Attack("dies", dies, 2, 2), 2)
    assert (died.tried, len(died.failures)) == (2, 2)
