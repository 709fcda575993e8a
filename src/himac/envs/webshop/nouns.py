"""Which words of a product name are nouns: the one thing the reward needs a tagger for.

The original uses spaCy. Without its model, textblob's tagger stands in, and without that a rule on function words and
endings; which one it was belongs into every result.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from himac.errors import ConfigError, MissingDependencyError

SPACY_MODEL = "en_core_web_sm"
TAGGERS = ("auto", "spacy", "textblob", "rule")

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'’.-]*[A-Za-z0-9]|[A-Za-z]")
_OTHERS = (
    "a an the and or nor but for to of in on at by with from into onto over under up off out as per via than that "
    "this these those it its your our my his her their you we they i he she is are was be been has have had can "
    "will do does not no all any each every both more most other some such only very so too also just new best "
    "great good perfect easy soft long short big small large mini slim high low full free adjustable portable "
    "waterproof casual black white red blue green brown grey gray yellow purple beige multi natural organic fresh "
    "sweet dry wet hot cool warm light dark fit made compatible fits non"
)
_NO_NOUNS = frozenset(_OTHERS.split())
_ENDINGS = ("able", "ible", "ous", "ful", "less", "ive", "ly")


@dataclass(frozen=True, slots=True)
class Tagger:
    """A way to find nouns.

    Attributes:
        name: What it is, for results files.
        nouns: Nouns and names of a text, lower-cased, in order and with repeats.
    """

    name: str
    nouns: Callable[[str], tuple[str, ...]]


@lru_cache(maxsize=8)
def make_tagger(kind: str = "auto") -> Tagger:
    """A tagger; `auto` takes the first of spaCy, textblob and the rule that is installed.

    Raises:
        ConfigError: an unknown kind.
        MissingDependencyError: the tagger is not installed.
    """
    if kind not in TAGGERS:
        raise ConfigError(f"webshop has no tagger {kind!r}; choose one of {', '.join(TAGGERS)}.")
    if kind == "auto":
        installed = importlib.util.find_spec
        if installed("spacy") and installed(SPACY_MODEL):
            kind = "spacy"
        else:
            kind = "textblob" if installed("textblob") else "rule"
    try:
        name, find = {"spacy": _spacy, "textblob": _textblob, "rule": _rule}[kind]()
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"the tagger '{kind}' cannot be loaded ({error}); install textblob, or spaCy with its model {SPACY_MODEL}."
        ) from error
    return Tagger(name, lru_cache(maxsize=1 << 16)(find))


Found = tuple[str, Callable[[str], tuple[str, ...]]]


def _spacy() -> Found:
    parse: Any = importlib.import_module("spacy").load(SPACY_MODEL)

    def nouns(text: str) -> tuple[str, ...]:
        return tuple(word.text.lower() for word in parse(text) if word.pos_ in ("NOUN", "PROPN"))

    return f"spacy:{SPACY_MODEL}", nouns


def _textblob() -> Found:
    tag: Any = importlib.import_module("textblob.en").tag

    def nouns(text: str) -> tuple[str, ...]:
        return tuple(word.lower() for word, kind in tag(text) if kind in ("NN", "NNS", "NNP", "NNPS"))

    return "textblob", nouns


def _rule() -> Found:
    def nouns(text: str) -> tuple[str, ...]:
        words = (word.lower() for word in _WORD.findall(text))
        return tuple(
            word
            for word in words
            if word not in _NO_NOUNS and not word[0].isdigit() and not (len(word) > 5 and word.endswith(_ENDINGS))
        )

    return "rule", nouns
