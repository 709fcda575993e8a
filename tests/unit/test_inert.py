from __future__ import annotations

import io
import logging

import pytest
from rich.text import Text

from himac.cli.console import _Screen
from himac.inert import inert, inert_warnings


def test_only_what_speaks_to_the_terminal_is_spelled_out() -> None:
    assert inert("plain ü 漢 🙂\n\ttext [red]") == "plain ü 漢 🙂\n\ttext [red]"
    assert inert("\x1b[2J\x07\r\x7f\x9b31m") == "\\x1b[2J\\x07\\x0d\\x7f\\x9b31m"
    assert inert("a\u202eb\u2066c\ud800") == "a\\u202eb\\u2066c\\ud800"


def test_the_console_keeps_its_own_colours() -> None:
    """Words are inert wherever they stand; rich's styles are not."""
    out = io.StringIO()
    screen = _Screen(file=out, force_terminal=True, color_system="standard", width=60, highlight=False, markup=False)
    screen.print("a\x1b[2Jb", style="red")
    screen.rule(Text("\x1b]0;title\x07"))
    assert "\x1b[31ma\\x1b[2Jb\x1b[0m" in out.getvalue()
    assert "\x1b]0" not in out.getvalue()
    assert "\\x1b]0;title" in out.getvalue()


def test_warnings_that_quote_somebody(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    inert_warnings()
    last = logging.lastResort
    assert last is not None
    last.handle(logging.makeLogRecord({"msg": "it said %s", "args": ("\x1b[2J",), "levelno": logging.ERROR}))
    assert capsys.readouterr().err == "it said \\x1b[2J\n"
