"""The reminder of a sub-goal."""

import pytest

from himac.agents.hierarchical import short_form


@pytest.mark.parametrize(
    ("subgoal", "short"),
    [
        ("take cup (look in desk, shelf)", "take cup"),
        ("select color red (dark), size 6 (wide) us", "select color red (dark), size 6 (wide) us"),
        ("buy it", "buy it"),
    ],
)
def test_only_a_remark_at_the_end_is_left_out(subgoal: str, short: str) -> None:
    assert short_form(subgoal) == short
