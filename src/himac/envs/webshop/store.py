"""A shop on disk: products, prices, goals and search index in one folder of memory-mapped files.

A folder is made once for each content (its name is a hash of it), appears whole or not at all, and is shared by every
process. It lies under `$HIMAC_CACHE`, else in the user's cache folder, else (where nothing can be written) in a
temporary folder of this process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from himac.envs.webshop.catalogue import Product
from himac.envs.webshop.goals import Columns, Goal, GoalKind, draw, make_goal
from himac.envs.webshop.index import Index
from himac.envs.webshop.indexing import Indexer, save_arrays

FORMAT = 3
"""Raise it when anything that is stored, or how texts are analysed, changes."""

_MEMORY = 4096
"""Products that a process keeps as objects."""
_SETTLED_S = 10.0
_RAW = "products.raw"
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_FIELDS = tuple(field.name for field in fields(Product))


class Store:
    """D products, numbered in the order of their file.

    Args:
        folder: A complete folder.
        keep: Kept alive with the store (a temporary folder).
    """

    def __init__(self, folder: Path, keep: object = None) -> None:
        self._keep = keep
        # Plain views of the mapped files: slicing numpy's own memmap class costs ten times as much.
        arrays: Columns = {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in folder.glob("*.npy")}
        raw = folder / _RAW
        self._blob = np.asarray(np.memmap(raw, np.uint8, "r")) if raw.stat().st_size else np.empty(0, np.uint8)
        self._ends = arrays["ends"]
        self._by_asin = arrays["by_asin"]
        self._asins = arrays["asins"]
        self._columns = arrays
        self.index = Index.of(arrays)
        self._names: dict[str, list[str]] = json.loads((folder / "labels.json").read_text())
        self._labels = {
            name: {label: code for code, label in enumerate(labels)} for name, labels in self._names.items()
        }
        self.product = lru_cache(maxsize=_MEMORY)(self._product)

    def __len__(self) -> int:
        return len(self._ends)

    def _product(self, number: int) -> Product:
        start = int(self._ends[number - 1]) if number else 0
        return Product.of(json.loads(self._blob[start : int(self._ends[number])].tobytes()))

    def number(self, asin: str) -> int | None:
        """The product with this number; `None` if there is none."""
        at = int(np.searchsorted(self._asins, np.asarray(asin)))
        return int(self._by_asin[at]) if at < len(self) and self._asins[at] == asin else None

    def price(self, number: int) -> float:
        """What the product costs, in dollars."""
        return float(self._columns["price"][number])

    def search(self, query: str, limit: int) -> NDArray[np.int32]:
        """The best products for a query, best first."""
        return self._by_asin[self.index.search(query, limit)]  # type: ignore[return-value]

    def labelled(self, field: str, label: str) -> NDArray[np.int64]:
        """Every product whose `query` or `category` is this, in the order of the file."""
        code = self._labels[field].get(label)
        return np.empty(0, np.int64) if code is None else np.flatnonzero(self._columns[field] == code)

    def goals(self, kind: GoalKind) -> int:
        """How many goals there are."""
        return len(self._columns[f"{kind}_product"])

    def goal(self, kind: GoalKind, number: int) -> Goal:
        """One goal."""
        product, choice, upper, weight = (
            self._columns[f"{kind}_{name}"][number] for name in ("product", "choice", "upper", "weight")
        )
        return make_goal(kind, number, self.product(int(product)), int(choice), float(upper), float(weight))

    def goal_category(self, kind: GoalKind, number: int) -> str:
        """The `category` of a goal, without reading its product."""
        product = int(self._columns[f"{kind}_product"][number])
        return self._names["category"][int(self._columns["category"][product])]

    def sums(self, kind: GoalKind) -> NDArray[np.float64]:
        """For each goal the weights of all goals up to it."""
        return self._columns[f"{kind}_sum"]  # type: ignore[return-value]


def open_store(identity: str, produce: Callable[[], Iterable[Product]]) -> Store:
    """The store of some content, built on first use.

    Args:
        identity: Differs whenever the products differ.
        produce: Gives the products in their order.
    """
    name = hashlib.sha256(f"{FORMAT}/{identity}".encode()).hexdigest()[:32]
    root = _root()
    folder = root / name
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        if not _complete(folder):
            with _lock(root / f"{name}.lock"):
                if not _complete(folder):
                    _publish(folder, produce)
        return Store(folder)
    scratch = tempfile.TemporaryDirectory(prefix="himac-webshop-")
    _write(Path(scratch.name), produce)
    return Store(Path(scratch.name), scratch)


def digest(*paths: Path) -> str:
    """SHA-256 over the contents of files; a file that has not changed since is not read again."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(_file_digest(path))
    return whole.hexdigest()


def _file_digest(path: Path) -> bytes:
    state = path.stat()
    key = f"{path.resolve()}/{state.st_size}/{state.st_mtime_ns}/{state.st_ctime_ns}"
    note = _root() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.digest"
    with suppress(OSError):
        known = note.read_bytes()
        if len(known) == hashlib.sha256().digest_size:
            return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    # A file that was written just now may change again without a new time.
    if time.time() - state.st_ctime > _SETTLED_S:
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_bytes(found)
    return found


def _root() -> Path:
    named = os.environ.get("HIMAC_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(named or f"{cache}/himac").expanduser() / "webshop"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _complete(folder: Path) -> bool:
    """Whether the folder has every file in its right size; a crash of the machine may have cut one."""
    try:
        sizes = json.loads((folder / "sizes.json").read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _publish(folder: Path, produce: Callable[[], Iterable[Product]]) -> None:
    prefix = f".tmp-{folder.name}-"
    for left in folder.parent.glob(f"{prefix}*"):  # of a process that was killed; the lock is held
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        _write(scratch, produce)
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(folder: Path, produce: Callable[[], Iterable[Product]]) -> None:
    """Fill the folder, with one product in memory at a time."""
    ends, asins = array("q"), list[str]()
    codes = {"query": array("i"), "category": array("i")}
    labels: dict[str, dict[str, int]] = {name: {} for name in codes}

    def kept(indexer: Indexer) -> Iterator[Product]:
        with (folder / _RAW).open("wb") as file:
            for product in produce():
                values = {name: getattr(product, name) for name in _FIELDS}
                file.write(_ENCODER.encode(values).encode())
                ends.append(file.tell())
                asins.append(product.asin)
                for name, known in labels.items():
                    codes[name].append(known.setdefault(values[name], len(known)))
                indexer.add(product.search_text())
                yield product

    with tempfile.TemporaryFile(dir=folder) as scratch:
        indexer = Indexer(folder, scratch)
        save_arrays(folder, draw(kept(indexer)))
        numbers = np.asarray(asins)
        asins.clear()
        order = np.argsort(numbers, kind="stable").astype(np.int32)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order), dtype=np.int32)
        save_arrays(folder, {name: np.asarray(values) for name, values in codes.items()})
        save_arrays(folder, {"ends": np.asarray(ends), "by_asin": order, "asins": numbers[order]})
        indexer.finish(rank)
    (folder / "labels.json").write_text(json.dumps({name: list(known) for name, known in labels.items()}))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "sizes.json").write_text(json.dumps(sizes))
