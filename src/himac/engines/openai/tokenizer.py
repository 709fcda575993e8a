"""A tokenizer for models whose own is out of reach: role markers and raw bytes, exact in both directions.

Chat endpoints take messages, agents build token ids. Here the ids are nothing but a spelling of the messages: one id
for each role and for the end of a message, and one id for up to three bytes of UTF-8 text. Three bytes come close to a
token of common tokenizers, so that context limits keep their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

END, USER, ASSISTANT = range(3)
_MARKERS = {"<|himac:end|>": END, "<|himac:user|>": USER, "<|himac:assistant|>": ASSISTANT}
_NAMES = {number: name for name, number in _MARKERS.items()}
_ROLES = {USER: "user", ASSISTANT: "assistant"}
_SPLIT = re.compile("|".join(map(re.escape, _MARKERS)))
_FIRST = len(_MARKERS)
_STARTS = (_FIRST, _FIRST + 256, _FIRST + 256 + 256**2)
"""First id of the pieces of one, two and three bytes."""
_LIMIT = _STARTS[2] + 256**3

Message = dict[str, str]


class ChatTokenizer:
    """Spells chat messages in ids; has what `himac.agents.chat.ChatFormat` asks of a Hugging Face tokenizer."""

    eos_token = "<|himac:end|>"
    eos_token_id = END
    all_special_tokens = tuple(_MARKERS)
    chat_template = "role marker, text, end marker"

    def apply_chat_template(self, messages: Sequence[Message], add_generation_prompt: bool = False, **_: Any) -> str:
        """Messages as text with markers."""
        names = {role: _NAMES[number] for number, role in _ROLES.items()}
        text = "".join(f"{names[message['role']]}{message['content']}{self.eos_token}" for message in messages)
        return text + (names["assistant"] if add_generation_prompt else "")

    def encode(self, text: str, add_special_tokens: bool = False, split_special_tokens: bool = False) -> list[int]:
        """Ids of a text.

        Args:
            add_special_tokens: Accepted for likeness; nothing is ever added.
            split_special_tokens: Markers in the text are text like any other.
        """
        if split_special_tokens:
            return encode_bytes(_bytes(text))
        ids, start = list[int](), 0
        for match in _SPLIT.finditer(text):
            ids += [*encode_bytes(_bytes(text[start : match.start()])), _MARKERS[match[0]]]
            start = match.end()
        return ids + encode_bytes(_bytes(text[start:]))

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False, **_: Any) -> str:
        """Text of ids; a character that was cut in two becomes the replacement character."""
        parts = []
        for marker, data in _runs(ids):
            if marker is not None and not skip_special_tokens:
                parts.append(_NAMES[marker])
            parts.append(_text(data))
        return "".join(parts)

    def messages(self, ids: Sequence[int]) -> list[Message]:
        """The conversation that the ids of a prompt spell, without the empty reply that is asked for.

        Raises:
            ValueError: text outside of a message, or a prompt that does not ask for a reply.
        """
        found = list[Message]()
        for marker, data in _runs(ids):
            if marker in _ROLES:
                found.append({"role": _ROLES[marker], "content": _text(data)})
            elif data:
                raise ValueError("the prompt has text between its messages; build it with agents.chat.ChatFormat")
        if not found or found[-1] != {"role": "assistant", "content": ""}:
            raise ValueError("the prompt does not end where a reply begins; build it with agents.chat.ChatFormat")
        return found[:-1]


def encode_bytes(data: bytes) -> list[int]:
    """Ids of raw bytes, three to an id, the rest in a shorter one."""
    pieces = (data[n : n + 3] for n in range(0, len(data), 3))
    return [_STARTS[len(piece) - 1] + int.from_bytes(piece, "big") for piece in pieces]


def _runs(ids: Sequence[int]) -> Iterator[tuple[int | None, bytes]]:
    """Each marker with the bytes up to the next one; `None` for bytes before the first marker."""
    marker, data = None, bytearray()
    for number in map(int, ids):
        if number in _NAMES:
            if marker is not None or data:
                yield marker, bytes(data)
            marker, data = number, bytearray()
        else:
            data += _piece(number)
    if marker is not None or data:
        yield marker, bytes(data)


def _piece(number: int) -> bytes:
    for length in (3, 2, 1):
        if _STARTS[length - 1] <= number < _LIMIT:
            return (number - _STARTS[length - 1]).to_bytes(length, "big")
    raise ValueError(f"{number} is no id of this tokenizer")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")
