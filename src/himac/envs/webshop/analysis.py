"""Text to search terms by the rules of Lucene's English analyser.

Words are split by Unicode Annex 29 (with whole runs of South-East Asian script, single ideographs and emoji as
words of their own), lose a possessive 's, are lower-cased, filtered by 33 stop words and stemmed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from typing import Any

import regex

from himac.envs.webshop.porter import stem

_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
MAX_WORD = 255
"""Longer words are cut into pieces of this length."""

_POSSESSIVE = ("'s", "’s", "＇s", "'S", "’S", "＇S")

# For ASCII, the annex comes down to this.
_ASCII_WORD = re.compile(
    r"_*+(?:[A-Za-z]++(?:[':.](?=[A-Za-z]))?|[0-9]++(?:[',;.](?=[0-9]))?)"
    r"(?:[A-Za-z]++(?:[':.](?=[A-Za-z]))?|[0-9]++(?:[',;.](?=[0-9]))?|_++)*+"
)

# Extended_Pictographic as of Unicode 12.1, which the reference index was made with; later versions withdrew many.
_PICTURES = (
    "©®‼⁉™ℹ↔-↙↩↪⌚⌛⌨⎈⏏⏩-⏳⏸-⏺Ⓜ▪▫▶◀◻-◾☀-★☇-☒☔-⚅⚐-✅✈-✒✔✖✝✡✨✳✴❄❇❌❎❓-❕❗❣-❧➕-➗➡➰➿⤴⤵⬅-⬇⬛⬜⭐⭕〰〽㊗㊙"
    "\\U0001F000-\\U0001F0FF\\U0001F10D-\\U0001F10F\\U0001F12F\\U0001F16C-\\U0001F171\\U0001F17E\\U0001F17F\\U0001F18E"
    "\\U0001F191-\\U0001F19A\\U0001F1AD-\\U0001F1E5\\U0001F201-\\U0001F20F\\U0001F21A\\U0001F22F\\U0001F232-\\U0001F23A"
    "\\U0001F23C-\\U0001F23F\\U0001F249-\\U0001F3FA\\U0001F400-\\U0001F53D\\U0001F546-\\U0001F64F\\U0001F680-\\U0001F6FF"
    "\\U0001F774-\\U0001F77F\\U0001F7D5-\\U0001F7FF\\U0001F80C-\\U0001F80F\\U0001F848-\\U0001F84F\\U0001F85A-\\U0001F85F"
    "\\U0001F888-\\U0001F88F\\U0001F8AE-\\U0001F8FF\\U0001F90C-\\U0001F93A\\U0001F93C-\\U0001F945\\U0001F947-\\U0001FFFD"
)


def _unicode_word() -> Any:
    more = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"
    hebrew = rf"\p{{WB=Hebrew_Letter}}{more}"
    letter = rf"[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]{more}"
    number = rf"\p{{WB=Numeric}}{more}"
    quote = rf"\p{{WB=Single_Quote}}{more}"
    in_word = rf"[\p{{WB=MidLetter}}\p{{WB=MidNumLet}}\p{{WB=Single_Quote}}]{more}"
    in_number = rf"[\p{{WB=MidNum}}\p{{WB=MidNumLet}}\p{{WB=Single_Quote}}]{more}"
    joiner = rf"\p{{WB=ExtendNumLet}}{more}"
    part = (
        rf"(?:{hebrew}(?:\p{{WB=Double_Quote}}{more}{hebrew}|{in_word}(?={letter})|{quote})?"
        rf"|{letter}(?:{in_word}(?={letter}))?|{number}(?:{in_number}(?={number}))?)++"
    )
    katakana = rf"(?:\p{{WB=Katakana}}{more})++"
    word = rf"(?:{joiner})*(?:{katakana}|{part})(?:(?:{joiner})++(?:{katakana}|{part}))*+(?:{joiner})*+"
    picture = rf"[{_PICTURES}](?:\uFE0F|\p{{Emoji_Modifier}})?+"
    emoji = rf"\p{{Regional_Indicator}}{{2}}|{picture}(?:\u200D{picture})*+"
    return regex.compile(
        rf"{word}|(?:\p{{LB=Complex_Context}}{more})++|{emoji}|\p{{Script=Han}}{more}|\p{{Script=Hiragana}}{more}",
        regex.VERSION1,
    )


_UNICODE_WORD = _unicode_word()


@lru_cache(maxsize=1 << 17)
def term(word: str) -> str | None:
    """The search term of one word, `None` for a stop word."""
    if word.endswith(_POSSESSIVE):
        word = word[:-2]
    word = word.lower()
    return None if word in STOP_WORDS else stem(word)


def split_words(text: str) -> list[str]:
    """The words of a text, as written."""
    if text.isascii():
        words: list[str] = _ASCII_WORD.findall(text)
    else:
        # No word holds a space, and the general expression is slow.
        words = []
        for ascii_only, pieces in groupby(text.split(" "), str.isascii):
            words += (_ASCII_WORD if ascii_only else _UNICODE_WORD).findall(" ".join(pieces))
    if max(map(len, words), default=0) > MAX_WORD:
        words = [word[at : at + MAX_WORD] for word in words for at in range(0, len(word), MAX_WORD)]
    return words


def terms(text: str) -> list[str]:
    """The search terms of a text, in order and with repeats."""
    return [found for word in split_words(text) if (found := term(word)) is not None]
