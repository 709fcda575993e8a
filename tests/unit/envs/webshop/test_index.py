import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.envs.webshop import index, indexing
from himac.envs.webshop.generator import generate
from himac.envs.webshop.index import quantise_length
from himac.envs.webshop.store import Store
from support.golden import Trail, cases
from support.webshop import build_index, recorded_catalogue


@pytest.mark.parametrize(
    ("length", "rounded"),
    [(0, 0), (23, 23), (39, 39), (40, 40), (41, 40), (57, 56), (343, 312), (352, 344), (392, 376)],
)
def test_lengths_are_quantised(length: int, rounded: int) -> None:
    assert quantise_length(length) == rounded


def test_scores_by_hand() -> None:
    built = build_index(["red shirt", "red red shoe", "blue hat"])
    numbers, scores = built.ranked("red")
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = 7 / 3

    def expected(frequency: int, length: int) -> float:
        return idf * frequency / (frequency + 0.9 * (0.6 + 0.4 * length / mean))

    assert numbers.tolist() == [1, 0]
    assert scores == pytest.approx([expected(2, 3), expected(1, 2)], rel=1e-6)


def test_a_repeated_word_counts_twice() -> None:
    built = build_index(["red shirt", "blue shoe"])
    assert built.ranked("red red")[1] == pytest.approx(2 * built.ranked("red")[1], rel=1e-6)


def test_equal_scores_rank_by_number() -> None:
    built = build_index(["hat"] * 7)
    assert built.search("hat", 5).tolist() == [0, 1, 2, 3, 4]


def test_nothing_is_found_in_nothing() -> None:
    assert build_index([]).search("hat").tolist() == []
    assert build_index(["", ""]).search("hat").tolist() == []
    assert build_index(["hat"]).search("the").tolist() == []


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["pq", "rs", "tu", "vw"]), max_size=6), max_size=12), st.integers(1, 5))
def test_the_best_are_those_of_a_full_sort(documents: list[list[str]], limit: int) -> None:
    built = build_index(" ".join(words) for words in documents)
    numbers, scores = built.ranked("pq tu vw", len(documents) + 1)
    assert numbers.tolist() == sorted(numbers.tolist(), key=lambda number: (-scores[numbers == number][0], number))
    assert set(numbers.tolist()) == {n for n, words in enumerate(documents) if {"pq", "tu", "vw"} & set(words)}
    assert built.search("pq tu vw", limit).tolist() == numbers.tolist()[:limit]


@st.composite
def shops(draw: st.DrawFn) -> tuple[list[str], str]:
    """Documents and a query, of words from everywhere to nowhere."""
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(1, 120))
    rng = random.Random(seed)
    words = [f"q{number}" for number in range(12)]
    documents = [
        " ".join(rng.choices(words, [1 / (n + 1) ** 2 for n in range(12)], k=rng.randrange(12))) for _ in range(count)
    ]
    return documents, " ".join(draw(st.lists(st.sampled_from(words), min_size=1, max_size=8)))


@settings(deadline=None)
@given(shops(), st.integers(1, 8))
def test_skipping_postings_changes_nothing(shop: tuple[list[str], str], limit: int) -> None:
    documents, query = shop
    built = build_index(documents)
    expected = built.ranked(query, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "FEW", 0)
        found = built.ranked(query, limit)
    assert [values.tolist() for values in found] == [values.tolist() for values in expected]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_runs_and_groups_of_any_size_make_the_same_index(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [product.search_text() for product, _ in zip(generate(), range(60), strict=False)]
    rank = random.Random(0).sample(range(60), 60)
    monkeypatch.setattr(indexing, "RUN", 64 * size)
    monkeypatch.setattr(indexing, "GROUP", size)
    built = build_index(texts, rank)
    plain = build_index([texts[rank.index(number)] for number in range(60)])
    for query in ("black shirt size small", "easy clean", "coffee table"):
        assert [values.tolist() for values in built.ranked(query, 60)] == [
            values.tolist() for values in plain.ranked(query, 60)
        ]


def test_a_word_may_be_repeated_more_often_than_a_byte_counts() -> None:
    numbers, scores = build_index(["hat " * 1000 + "shoe", "hat " * 255 + "shoe"]).ranked("hat")
    assert numbers.tolist() == [0, 1]
    assert scores[0] > scores[1]


@pytest.mark.parametrize("few", [index.FEW, 0])
def test_rankings_of_the_generated_catalogue_are_lucene_s(
    few: int, builtin: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "FEW", few)
    recorded, trail = recorded_catalogue("searches"), Trail()
    for query in recorded["actions"]:
        trail.add([builtin.product(int(number)).asin for number in builtin.search(query, 50)])
    trail.assert_equal(recorded, recorded["actions"])
    assert len(recorded["actions"]) == 150


@pytest.mark.parametrize("few", [index.FEW, 0])
def test_rankings_are_those_of_the_reference(
    few: int, official: Store, shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "FEW", few)
    for case in cases(shared_dir, "webshop_search"):
        query = case["query"].lower()
        found = [official.product(int(number)).asin for number in official.search(query, 50)]
        assert found == case["top50"], query
        assert np.abs(official.index.ranked(query)[1] - np.asarray(case["scores"])).max(initial=0) < 1e-4
