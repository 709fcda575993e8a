"""A BM25 index with the arithmetic of Lucene (k1 = 0.9, b = 0.4), in numpy.

Scores are those of Lucene's `BM25Similarity`: lengths quantised to one byte, single precision, query terms summed in
double precision and rounded once. A document's score for a term that occurs `count` times in the query:

    weight - weight / (1 + frequency * inverse),   weight = count * log(1 + (N - n + 0.5) / (n + 0.5))
    inverse = 1 / (k1 * (1 - b + b * length / mean length))
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from himac.envs.webshop.analysis import terms

K1 = np.float32(0.9)
B = np.float32(0.4)
_ONE = np.float32(1)
_REMEMBERED = 1 << 16


class _Term(NamedTuple):
    """Where the postings of a term lie, and its weight."""

    start: int
    end: int
    weight: float


def quantise_length(length: int) -> int:
    """The length in Lucene's one-byte form: exact below 40, then four significant bits, rounded down."""
    if length < 24:
        return length
    rest = length - 24
    shift = max(rest.bit_length() - 4, 0)
    return 24 + ((rest >> shift) << shift)


@dataclass(frozen=True)
class Index:
    """An inverted index of D documents and T terms with P postings, sorted by term and then by document.

    The arrays may be memory-mapped.

    Attributes:
        words: uint8, the terms in UTF-8, sorted and joined.
        word_ends: int64 [T], where each term ends in `words`.
        posting_ends: int64 [T], where the postings of each term end.
        documents: int32 [P], numbers of the documents.
        frequencies: float32 [P], occurrences of the term in the document.
        inverse: float32 [D], the `inverse` of each document.
    """

    words: NDArray[np.uint8]
    word_ends: NDArray[np.int64]
    posting_ends: NDArray[np.int64]
    documents: NDArray[np.int32]
    frequencies: NDArray[np.float32]
    inverse: NDArray[np.float32]

    @classmethod
    def build(cls, texts: Iterable[str]) -> Index:
        """Index texts in the order in which equal scores are to rank."""
        numbers: dict[str, int] = {}
        of_term, of_document, frequencies, lengths = array("i"), array("i"), array("f"), array("i")
        for document, text in enumerate(texts):
            found = terms(text)
            lengths.append(len(found))
            for word, frequency in Counter(found).items():
                of_term.append(numbers.setdefault(word, len(numbers)))
                of_document.append(document)
                frequencies.append(frequency)
        order = sorted(numbers, key=lambda word: word.encode())
        rank = np.empty(len(order), np.int32)
        rank[[numbers[word] for word in order]] = np.arange(len(order), dtype=np.int32)
        term_of = rank[np.asarray(of_term)]
        by_term = np.argsort(term_of, kind="stable")
        encoded = [word.encode() for word in order]
        return cls(
            words=np.frombuffer(b"".join(encoded), np.uint8),
            word_ends=np.cumsum([len(word) for word in encoded], dtype=np.int64),
            posting_ends=np.cumsum(np.bincount(term_of, minlength=len(order)), dtype=np.int64),
            documents=np.asarray(of_document)[by_term],
            frequencies=np.asarray(frequencies)[by_term],
            inverse=_inverse(np.asarray(lengths)),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything the index consists of, by attribute name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Index:
        """The index whose `arrays` these are."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})  # type: ignore[arg-type]

    def search(self, query: str, limit: int = 50) -> NDArray[np.int32]:
        """Numbers of the best documents, best first; equal scores rank by number."""
        return self.ranked(query, limit)[0]

    def ranked(self, query: str, limit: int = 50) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """`search`, with the scores."""
        held = [
            (found, count) for word, count in Counter(terms(query)).items() if (found := self._find(word)) is not None
        ]
        if not held:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        # The product of a single-precision weight and a small number is exact in double precision.
        weights = np.asarray([found.weight * count for found, count in held], np.float32)
        weights = np.repeat(weights, [found.end - found.start for found, _ in held])
        documents = np.concatenate([self.documents[found.start : found.end] for found, _ in held])
        frequencies = np.concatenate([self.frequencies[found.start : found.end] for found, _ in held])
        parts = weights - weights / (_ONE + frequencies * self.inverse[documents])
        scores = np.bincount(documents, parts, len(self.inverse)).astype(np.float32)
        hits = scores.nonzero()[0]
        reached = scores[hits]
        if len(hits) > limit:
            enough = reached >= np.partition(reached, len(hits) - limit)[len(hits) - limit]
            hits, reached = hits[enough], reached[enough]
        best = np.argsort(-reached, kind="stable")[:limit]
        return hits[best].astype(np.int32), reached[best]

    @cached_property
    def _found(self) -> dict[str, _Term | None]:
        return {}

    def _find(self, word: str) -> _Term | None:
        """A term of the index; looked-up words are remembered."""
        if word in self._found:
            return self._found[word]
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        found = self._found[word] = self._look_up(word.encode())
        return found

    def _look_up(self, wanted: bytes) -> _Term | None:
        at = bisect_left(range(len(self.word_ends)), wanted, key=self._word)
        if at == len(self.word_ends) or self._word(at) != wanted:
            return None
        start, end = (int(self.posting_ends[at - 1]) if at else 0), int(self.posting_ends[at])
        rarity = math.log(1 + (len(self.inverse) - (end - start) + 0.5) / (end - start + 0.5))
        return _Term(start, end, float(np.float32(rarity)))

    def _word(self, number: int) -> bytes:
        start = int(self.word_ends[number - 1]) if number else 0
        return self.words[start : int(self.word_ends[number])].tobytes()


def _inverse(lengths: NDArray[np.int32]) -> NDArray[np.float32]:
    mean = np.float32(lengths.sum() / max(np.count_nonzero(lengths), 1)) or _ONE
    rounded = np.asarray([quantise_length(length) for length in lengths.tolist()], np.float32)
    return (_ONE / (K1 * ((_ONE - B) + B * rounded / mean))).astype(np.float32)
