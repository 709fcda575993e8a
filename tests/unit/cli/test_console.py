"""Progress where there is no terminal: a plain line now and then."""

from __future__ import annotations

import pytest

from himac.cli.console import LINE_EVERY_S, progress_bar


def test_a_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with progress_bar(get_time=lambda: now) as bar:
        task = bar.add_task("warm start", total=120, note="")
        for step in range(1, 91):
            now = float(step)
            bar.update(task, completed=step, note=f"loss {1 / step:.3f}")
    lines = capsys.readouterr().out.splitlines()
    assert LINE_EVERY_S == 30
    # One step a second; the clock of the lines starts with the first step.
    assert lines == [
        "warm start: 31 of 120, 0:00:31 gone, 0:01:29 left  loss 0.032",
        "warm start: 61 of 120, 0:01:01 gone, 0:00:59 left  loss 0.016",
    ]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(get_time=lambda: 5.0) as bar:
        task = bar.add_task("eval", total=None, note="")
        bar.advance(task)
    assert capsys.readouterr().out == ""
