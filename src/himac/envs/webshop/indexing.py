"""Building a search index of any size in little memory.

Texts are added one by one. Their postings are sorted and put on disk in runs of a few million words; at the end the
runs are merged a group of terms at a time. What stays in memory is the vocabulary, one run and one group.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from himac.envs.webshop.analysis import terms
from himac.envs.webshop.index import inverse_lengths

RUN = 1 << 21
"""Words of a run."""
GROUP = 1 << 21
"""Postings that are merged at a time (or those of one term)."""

_REMEMBERED = 1 << 18
_POSTING = np.dtype([("term", np.int32), ("document", np.int32), ("frequency", np.int32)])


class Indexer:
    """Writes the arrays of an `Index` to a folder.

    Args:
        folder: Where the arrays go.
        scratch: An empty file for the runs.
    """

    def __init__(self, folder: Path, scratch: IO[bytes]) -> None:
        self._folder = folder
        self._numbers = _Numbers()
        self._words = array("i")
        self._ends = array("i")
        self._documents = 0
        self._highest = 0
        self._totals = np.zeros(0, np.int64)
        self._lengths: list[NDArray[np.int32]] = []
        self._file = scratch
        self._runs: list[_Run] = []

    def add(self, text: str) -> None:
        """The next document."""
        # No word holds a space.
        self._words.extend(chain.from_iterable(map(self._numbers.__getitem__, text.split(" "))))
        self._ends.append(len(self._words))
        if len(self._words) >= RUN:
            self._flush()

    def finish(self, rank: NDArray[np.int32]) -> None:
        """Write the arrays.

        Args:
            rank: int32 [D], the place of each added document among equal scores; the index numbers them by it.
        """
        self._flush()
        self._numbers.clear()
        inverse = np.empty(len(rank), np.float32)
        inverse[rank] = inverse_lengths(np.concatenate(self._lengths))
        peaks, counts = self._merge(rank, inverse), self._totals
        encoded = sorted((word.encode(), number) for word, number in self._numbers.terms.items())
        order = np.asarray([number for _, number in encoded], np.int64)
        arrays: dict[str, NDArray[Any]] = {
            "words": np.frombuffer(b"".join(word for word, _ in encoded), np.uint8),
            "word_ends": np.cumsum([len(word) for word, _ in encoded], dtype=np.int64),
            "posting_starts": (np.cumsum(counts) - counts)[order],
            "posting_counts": counts[order].astype(np.int32),
            "peaks": peaks[order],
            "inverse": inverse,
        }
        save_arrays(self._folder, arrays)

    def _flush(self) -> None:
        """Put the words that were added since the last run on disk, as postings sorted by term and document."""
        lengths = np.diff(np.asarray(self._ends), prepend=0)
        documents = np.repeat(np.arange(self._documents, self._documents + len(lengths)), lengths)
        keys = np.sort(np.asarray(self._words, np.int64) << 32 | documents)
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        postings = np.empty(len(starts), _POSTING)
        postings["term"] = keys[starts] >> 32
        postings["document"] = keys[starts] & 0xFFFFFFFF
        postings["frequency"] = np.diff(starts, append=len(keys))
        self._runs.append(_Run(self._file, len(postings)))
        self._file.write(postings.data)
        self._lengths.append(lengths)
        self._documents += len(lengths)
        self._highest = max(self._highest, int(postings["frequency"].max(initial=0)))
        self._totals.resize(len(self._numbers.terms), refcheck=False)
        self._totals += np.bincount(postings["term"], minlength=len(self._totals))
        self._words, self._ends = array("i"), array("i")

    def _merge(self, rank: NDArray[np.int32], inverse: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write the postings of all runs; the largest `frequency * inverse` of each term."""
        counts = self._totals
        peaks, total = np.empty(len(counts), np.float32), int(counts.sum())
        narrow = np.min_scalar_type(self._highest)
        with ExitStack() as stack:
            documents = stack.enter_context(_NpyFile(self._folder / "documents.npy", np.int32, total))
            frequencies = stack.enter_context(_NpyFile(self._folder / "frequencies.npy", narrow, total))
            for start, end in _groups(counts.tolist()):
                postings = np.concatenate([run.read(end) for run in self._runs])
                ranks = rank[postings["document"]]
                order = np.argsort(postings["term"].astype(np.int64) << 32 | ranks)
                ranks, found = ranks[order], postings["frequency"][order]
                documents.write(ranks)
                frequencies.write(found.astype(narrow))
                firsts = np.cumsum(counts[start:end]) - counts[start:end]
                peaks[start:end] = np.maximum.reduceat(found.astype(np.float32) * inverse[ranks], firsts)
        return peaks


def save_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A file for each array, by its name."""
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


class _Run:
    """Postings at the end of a file, to be read once from front to back."""

    def __init__(self, file: IO[bytes], count: int) -> None:
        self._file = file
        self._offset = file.tell()
        self._count = count
        self._at = 0

    def read(self, end: int) -> NDArray[Any]:
        """What is left of the terms below `end`."""
        following = bisect_left(range(self._count), end, self._at, key=lambda at: self._read(at, at + 1)["term"][0])
        postings = self._read(self._at, following)
        self._at = following
        return postings

    def _read(self, start: int, end: int) -> NDArray[Any]:
        self._file.seek(self._offset + start * _POSTING.itemsize)
        return np.frombuffer(self._file.read((end - start) * _POSTING.itemsize), _POSTING)


class _Numbers(dict[str, tuple[int, ...]]):
    """Texts without a space to the numbers of their terms; the last ones met are remembered, every term is."""

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, int] = {}

    def __missing__(self, text: str) -> tuple[int, ...]:
        if len(self) >= _REMEMBERED:
            self.clear()
        numbers = self[text] = tuple(self.terms.setdefault(term, len(self.terms)) for term in terms(text))
        return numbers


class _NpyFile:
    """A one-dimensional array of known length that is written piece by piece."""

    def __init__(self, path: Path, dtype: DTypeLike, length: int) -> None:
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> _NpyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, values: NDArray[Any]) -> None:
        """The next values."""
        self._file.write(np.ascontiguousarray(values).data)


def _groups(counts: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of terms with up to `GROUP` postings."""
    start = total = 0
    at = -1
    for at, count in enumerate(counts):
        if at > start and total + count > GROUP:
            yield start, at
            start, total = at, 0
        total += count
    if at >= start:
        yield start, at + 1
