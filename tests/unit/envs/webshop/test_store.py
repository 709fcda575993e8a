import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from himac.envs.webshop.catalogue import Product
from himac.envs.webshop.generator import generate
from himac.envs.webshop.store import Store, digest, open_store


def few() -> Iterator[Product]:
    return (product for product, _ in zip(generate(), range(12), strict=False))


def never() -> Iterator[Product]:
    raise AssertionError("the store was there already")


def open_few(_: int) -> int:
    return len(open_store("shared", few))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path))
    return tmp_path / "webshop"


def folder_in(root: Path) -> Path:
    return next(path for path in root.iterdir() if path.is_dir())


def same(one: Store, other: Store) -> bool:
    return [one.product(n) for n in range(len(one))] == [other.product(n) for n in range(len(other))]


def test_products_come_back(root: Path) -> None:
    store = open_store("a", few)
    assert [store.product(number) for number in range(len(store))] == list(few())
    for number in range(len(store)):
        assert store.number(store.product(number).asin) == number
    assert store.number("0") is store.number("zzz") is None


def test_a_store_is_built_once(root: Path) -> None:
    first = open_store("a", few)
    assert same(first, open_store("a", never))
    assert len(open_store("b", lambda: iter(()))) == 0


def test_a_damaged_store_is_built_again(root: Path) -> None:
    first = open_store("a", few)
    (folder_in(root) / "documents.npy").write_bytes(b"")
    assert same(first, open_store("a", few))
    assert not list(root.glob(".tmp-*"))


def test_what_a_killed_process_left_is_removed(root: Path) -> None:
    open_store("a", few)
    folder = folder_in(root)
    (root / f".tmp-{folder.name}-left" / "big").mkdir(parents=True)
    (folder / "documents.npy").write_bytes(b"")
    open_store("a", few)
    assert not list(root.glob(".tmp-*"))


def test_processes_share_a_store(root: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(open_few, range(8)) == [12] * 8
    assert len([path for path in root.iterdir() if path.is_dir()]) == 1


def test_a_failed_build_leaves_nothing(root: Path) -> None:
    with pytest.raises(AssertionError):
        open_store("a", never)
    assert not [path for path in root.iterdir() if path.is_dir()]


def test_without_a_cache_folder_it_works_in_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "file"))
    assert len(open_store("a", few)) == 12


def test_labels(root: Path) -> None:
    store = open_store("a", few)
    products = list(few())
    wanted = [number for number, product in enumerate(products) if product.category == products[0].category]
    assert np.array_equal(store.labelled("category", products[0].category), wanted)
    assert store.labelled("query", "nothing").tolist() == []


def test_goals_know_their_category(root: Path) -> None:
    store = open_store("a", few)
    numbers = range(store.goals("synthetic"))
    assert [store.goal_category("synthetic", number) for number in numbers] == [
        store.goal("synthetic", number).category for number in numbers
    ]


def test_a_file_that_has_not_changed_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    path = root / "data"
    path.write_text("1")
    now = time.time()
    first = digest(path)
    assert not list(root.glob("*.digest"))
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert digest(path) == first
    (note,) = root.glob("*.digest")
    note.write_bytes(bytes(32))
    assert digest(path) != first
    note.write_bytes(b"cut off")
    assert digest(path) == first
    path.write_text("23")
    assert digest(path) != first


def test_a_digest_tells_contents_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "1", tmp_path / "2"]
    for path, text in zip(paths, ("ab", "c"), strict=True):
        path.write_text(text)
    before = digest(*paths)
    for path, text in zip(paths, ("a", "bc"), strict=True):
        path.write_text(text)
    assert before != digest(*paths)
