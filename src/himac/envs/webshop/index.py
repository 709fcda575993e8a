"""A BM25 index with the arithmetic of Lucene (k1 = 0.9, b = 0.4), in numpy.

Scores are those of Lucene's `BM25Similarity`: lengths quantised to one byte, single precision, query terms summed in
double precision and rounded once. A document's score for a term that occurs `count` times in the query:

    weight - weight / (1 + frequency * inverse),   weight = count * log(1 + (N - n + 0.5) / (n + 0.5))
    inverse = 1 / (k1 * (1 - b + b * length / mean length))

Long lists of postings are not read from end to end. A score that fifty documents surely reach is found first; what
can only be found through the most frequent terms then stays below it, and those terms are looked up for the documents
that the rarer ones have found. (H. Turtle and J. Flood, "Query evaluation: strategies and optimizations", 1995.)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from himac.envs.webshop.analysis import terms

K1 = np.float32(0.9)
B = np.float32(0.4)
FEW = 1 << 17
"""Postings up to which reading all is faster than choosing."""
_ONE = np.float32(1)
_REMEMBERED = 1 << 16
_ASKED = 4
"""Documents whose score is worked out to know a score that is surely reached, for each that is wanted."""
_SLACK = 1 - 1e-6
"""Sums in another order may differ in the last digits."""


class _Term(NamedTuple):
    """Where the postings of a term lie, its weight, and the largest `frequency * inverse` among them."""

    start: int
    end: int
    weight: float
    peak: np.float32


class _Part(NamedTuple):
    """A term of a query."""

    documents: NDArray[np.int32]
    frequencies: NDArray[np.unsignedinteger]
    weight: np.float32
    peak: np.float32

    @property
    def most(self) -> float:
        """The most that it can add to a score."""
        return float(self.weight - self.weight / (_ONE + self.peak))


def quantise_length(length: int) -> int:
    """The length in Lucene's one-byte form: exact below 40, then four significant bits, rounded down."""
    if length < 24:
        return length
    rest = length - 24
    shift = max(rest.bit_length() - 4, 0)
    return 24 + ((rest >> shift) << shift)


def inverse_lengths(lengths: NDArray[np.int32]) -> NDArray[np.float32]:
    """The `inverse` of documents with so many words."""
    mean = np.float32(lengths.sum() / max(np.count_nonzero(lengths), 1)) or _ONE
    rounded = np.asarray([quantise_length(length) for length in range(lengths.max(initial=0) + 1)], np.float32)
    inverse: NDArray[np.float32] = (_ONE / (K1 * ((_ONE - B) + B * rounded / mean))).astype(np.float32)
    return inverse[lengths]


def _score(weight: NDArray[np.float32] | np.float32, reached: NDArray[np.float32]) -> NDArray[np.float32]:
    """The score for a term, of `frequency * inverse`."""
    return weight - weight / (_ONE + reached)


@dataclass(frozen=True)
class Index:
    """An inverted index of D documents and T terms with P postings; those of a term lie together, by document.

    The arrays may be memory-mapped. `Indexer` makes them.

    Attributes:
        words: uint8, the terms in UTF-8, sorted and joined.
        word_ends: int64 [T], where each term ends in `words`.
        posting_starts: int64 [T], where the postings of each term start.
        posting_counts: int32 [T], how many there are.
        peaks: float32 [T], the largest `frequency * inverse` of the term.
        documents: int32 [P], numbers of the documents.
        frequencies: uint8 or wider [P], occurrences of the term in the document.
        inverse: float32 [D], the `inverse` of each document.
    """

    words: NDArray[np.uint8]
    word_ends: NDArray[np.int64]
    posting_starts: NDArray[np.int64]
    posting_counts: NDArray[np.int32]
    peaks: NDArray[np.float32]
    documents: NDArray[np.int32]
    frequencies: NDArray[np.unsignedinteger]
    inverse: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Index:
        """The index whose arrays these are, by attribute name."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})  # type: ignore[arg-type]

    def search(self, query: str, limit: int = 50) -> NDArray[np.int32]:
        """Numbers of the best documents, best first; equal scores rank by number."""
        return self.ranked(query, limit)[0]

    def ranked(self, query: str, limit: int = 50) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """`search`, with the scores."""
        parts = self._parts(query)
        if sum(len(part.documents) for part in parts) <= FEW:
            sums = self._sums(parts)
            hits = np.flatnonzero(sums).astype(np.int32)
            scores = sums[hits].astype(np.float32)
        else:
            hits = self._candidates(parts, limit)
            scores = self._exact(parts, hits)
        if len(hits) > limit:
            enough = scores >= _nth_best(scores, limit)
            hits, scores = hits[enough], scores[enough]
        best = np.argsort(-scores, kind="stable")[:limit]
        return hits[best], scores[best]

    def _parts(self, query: str) -> list[_Part]:
        parts = []
        for word, count in Counter(terms(query)).items():
            if (term := self._find(word)) is not None:
                # The product of a single-precision weight and a small number is exact in double precision.
                weight = np.float32(term.weight * count)
                found = slice(term.start, term.end)
                parts.append(_Part(self.documents[found], self.frequencies[found], weight, term.peak))
        return parts

    def _sums(self, parts: Sequence[_Part]) -> NDArray[np.float64]:
        """The sum of the parts for every document [D]."""
        if not parts:
            return np.zeros(len(self.inverse))
        weights = np.repeat([part.weight for part in parts], [len(part.documents) for part in parts])
        documents = np.concatenate([part.documents for part in parts])
        frequencies = np.concatenate([part.frequencies for part in parts]).astype(np.float32)
        scores = _score(weights, frequencies * self.inverse[documents])
        return np.bincount(documents, scores, len(self.inverse)).astype(np.float64, copy=False)

    def _exact(self, parts: Sequence[_Part], documents: NDArray[np.int32]) -> NDArray[np.float32]:
        """The scores of some documents, in the order and precision of `_sums`."""
        sums = np.zeros(len(documents))
        for part in parts:
            sums += self._looked_up(part, documents)
        return sums.astype(np.float32)

    def _looked_up(self, part: _Part, documents: NDArray[np.int32]) -> NDArray[np.float32]:
        """The part of each of some documents, 0 where the term does not occur."""
        at = np.searchsorted(part.documents, documents)
        occurs = np.flatnonzero(part.documents.take(at, mode="clip") == documents)
        reached = part.frequencies[at[occurs]].astype(np.float32) * self.inverse[documents[occurs]]
        scores = np.zeros(len(documents), np.float32)
        scores[occurs] = _score(part.weight, reached)
        return scores

    def _candidates(self, parts: Sequence[_Part], limit: int) -> NDArray[np.int32]:
        """Documents, in order, among which are the best; with few of them all that have any of the terms."""
        rarest = sorted(parts, key=lambda part: len(part.documents))
        # What each term and all more frequent ones can add.
        rest = [*np.cumsum([part.most for part in reversed(rarest)])[::-1].tolist(), 0.0]
        sizes = np.cumsum([len(part.documents) for part in rarest])
        read = max(int(np.searchsorted(sizes, len(self.inverse) // 8)), 1)
        sums = self._sums(rarest[:read])
        least = self._surely_reached(parts, sums, limit) * _SLACK
        needed = next(number for number, most in enumerate(rest) if most < least or not most)
        if needed > read:
            sums += self._sums(rarest[read:needed])
            read = needed
        hits = np.flatnonzero(sums >= max(least - rest[read], 5e-324)).astype(np.int32)
        reached = sums[hits]
        for number in range(read, len(rarest)):
            reached += self._looked_up(rarest[number], hits)
            enough = reached >= least - rest[number + 1]
            hits, reached = hits[enough], reached[enough]
        return hits

    def _surely_reached(self, parts: Sequence[_Part], sums: NDArray[np.float64], limit: int) -> float:
        """A score that `limit` documents have at least, from those that are best in `sums`."""
        hits = np.flatnonzero(sums).astype(np.int32)
        if len(hits) < limit:
            return 0.0
        asked = min(_ASKED * limit, len(hits))
        best = np.sort(hits[np.argpartition(sums[hits], len(hits) - asked)[-asked:]])
        return float(_nth_best(self._exact(parts, best), limit))

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
        start, count = int(self.posting_starts[at]), int(self.posting_counts[at])
        rarity = math.log(1 + (len(self.inverse) - count + 0.5) / (count + 0.5))
        return _Term(start, start + count, float(np.float32(rarity)), self.peaks[at])

    def _word(self, number: int) -> bytes:
        start = int(self.word_ends[number - 1]) if number else 0
        return self.words[start : int(self.word_ends[number])].tobytes()


def _nth_best(values: NDArray[np.floating], number: int) -> np.floating:
    found: np.floating = np.partition(values, len(values) - number)[len(values) - number]
    return found
