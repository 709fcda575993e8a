"""Text as token ids that hold no control token, whatever the text spells.

Tokenizers look for their control tokens in the text itself, so that `<|im_end|>` in an observation would end the
message. Whether that happened is seen in the ids, not in the text: normalisation (NFKC, case) may make a control token
of something that does not look like one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Any


class PlainText:
    """The text-only side of a tokenizer.

    Args:
        tokenizer: Any with `encode`; its control tokens are found in `added_tokens_decoder` and `all_special_tokens`.

    Attributes:
        controls: Control tokens and their ids: every added token that is special, or that is not made of letters,
            digits and white space alone. Not all that a template or a parser uses is marked as special.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.controls: dict[str, int] = {
            str(token): int(number) for number, token in added.items() if token.special or _is_mark(str(token))
        }
        for token in getattr(tokenizer, "all_special_tokens", ()):
            if token not in self.controls and len(ids := self._encode(token)) == 1:
                self.controls[token] = ids[0]
        self._numbers = frozenset(self.controls.values())
        longest_first = sorted(filter(None, self.controls), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def controls_in(self, token_ids: Iterable[int]) -> list[int]:
        """Those of the ids that are control tokens, in order."""
        return [number for number in token_ids if number in self._numbers]

    def encode(self, text: str, kept: Collection[str] = ()) -> list[int]:
        """Ids of a text.

        Args:
            kept: Control tokens that the text may hold.
        """
        allowed = {self.controls[token] for token in kept if token in self.controls}
        ids = self._encode(text)
        if allowed.issuperset(self.controls_in(ids)):
            return ids
        if allowed:
            parts = re.split("(" + "|".join(map(re.escape, kept)) + ")", text)
            return [number for part in parts for number in (self._encode if part in kept else self._letters)(part)]
        return self._letters(text)

    def _letters(self, text: str) -> list[int]:
        """No control token at all: in one piece where the tokenizer can, else cut inside of what spells one."""
        ids = self._encode(text)
        if not self.controls_in(ids):
            return ids
        ids = self._encode(text, split_special_tokens=True)
        if not self.controls_in(ids):
            return ids
        if len(text) == 1:  # a control token of one character has no other spelling
            return []
        cuts = [found.start() + 1 for found in self._spelled.finditer(text) if len(found[0]) > 1]
        if not cuts:  # normalisation made it
            cuts = [len(text) // 2]
        pieces = (text[start:end] for start, end in pairwise([0, *cuts, len(text)]))
        return [number for piece in pieces for number in self._letters(piece)]

    def _encode(self, text: str, **options: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, **options)
        return ids


def _is_mark(token: str) -> bool:
    return not all(character.isalnum() or character.isspace() for character in token)
