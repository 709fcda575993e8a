"""Text of models, environments and files as it may be shown: it cannot speak to the terminal."""

from __future__ import annotations

import logging

_SHOWN = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in "\n\t"} | {
    number: f"\\u{number:04x}"
    for first, end in ((0x200E, 0x2010), (0x202A, 0x202F), (0x2066, 0x206A), (0xD800, 0xE000))
    for number in range(first, end)
}


def inert(text: str) -> str:
    """The text with control characters, marks of writing direction and lone surrogates spelled out.

    A control sequence can clear the screen or type for the user; a direction mark can show `exe.txt` for `txt.exe`.
    """
    return text.translate(_SHOWN)


def inert_warnings() -> None:
    """What is logged without a handler of its own goes to the terminal too, and may quote anybody."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Inert())


class _Inert(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return inert(super().format(record))
