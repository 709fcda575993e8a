import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.envs.webshop.index import Index, quantise_length
from himac.envs.webshop.store import Store
from support.golden import cases


@pytest.mark.parametrize(
    ("length", "rounded"),
    [(0, 0), (23, 23), (39, 39), (40, 40), (41, 40), (57, 56), (343, 312), (352, 344), (392, 376)],
)
def test_lengths_are_quantised(length: int, rounded: int) -> None:
    assert quantise_length(length) == rounded


def test_scores_by_hand() -> None:
    index = Index.build(["red shirt", "red red shoe", "blue hat"])
    numbers, scores = index.ranked("red")
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = 7 / 3

    def expected(frequency: int, length: int) -> float:
        return idf * frequency / (frequency + 0.9 * (0.6 + 0.4 * length / mean))

    assert numbers.tolist() == [1, 0]
    assert scores == pytest.approx([expected(2, 3), expected(1, 2)], rel=1e-6)


def test_a_repeated_word_counts_twice() -> None:
    index = Index.build(["red shirt", "blue shoe"])
    assert index.ranked("red red")[1] == pytest.approx(2 * index.ranked("red")[1], rel=1e-6)


def test_equal_scores_rank_by_number() -> None:
    index = Index.build(["hat"] * 7)
    assert index.search("hat", 5).tolist() == [0, 1, 2, 3, 4]


def test_nothing_is_found_in_nothing() -> None:
    assert Index.build([]).search("hat").tolist() == []
    assert Index.build(["", ""]).search("hat").tolist() == []
    assert Index.build(["hat"]).search("the").tolist() == []


@given(st.lists(st.lists(st.sampled_from(["pq", "rs", "tu", "vw"]), max_size=6), max_size=12), st.integers(1, 5))
def test_the_best_are_those_of_a_full_sort(documents: list[list[str]], limit: int) -> None:
    index = Index.build(" ".join(words) for words in documents)
    numbers, scores = index.ranked("pq tu vw", len(documents) + 1)
    assert numbers.tolist() == sorted(numbers.tolist(), key=lambda number: (-scores[numbers == number][0], number))
    assert set(numbers.tolist()) == {n for n, words in enumerate(documents) if {"pq", "tu", "vw"} & set(words)}
    assert index.search("pq tu vw", limit).tolist() == numbers.tolist()[:limit]


def test_rankings_are_those_of_the_reference(official: Store, shared_dir: Path) -> None:
    for case in cases(shared_dir, "webshop_search"):
        query = case["query"].lower()
        found = [official.product(int(number)).asin for number in official.search(query, 50)]
        assert found == case["top50"], query
        assert np.abs(official.index.ranked(query)[1] - np.asarray(case["scores"])).max(initial=0) < 1e-4
