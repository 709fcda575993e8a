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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from himac.envs.webshop.catalogue import Product
from himac.envs.webshop.goals import Columns, Goal, GoalKind, draw, make_goal
from himac.envs.webshop.index import Index

FORMAT = 1
"""Raise it when anything that is stored, or how texts are analysed, changes."""

_MEMORY = 20_000


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
        self._blob = arrays["products"]
        self._ends = arrays["ends"]
        self._by_asin = arrays["by_asin"]
        self._asins = arrays["asins"]
        self._columns = arrays
        self.index = Index.of(arrays)
        self._labels = {
            name: {label: code for code, label in enumerate(labels)}
            for name, labels in json.loads((folder / "labels.json").read_text()).items()
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

    def weights(self, kind: GoalKind) -> NDArray[np.float64]:
        """The weight of each goal."""
        return self._columns[f"{kind}_weight"]  # type: ignore[return-value]


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
    """SHA-256 over the contents of files."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


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
    scratch = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        _write(scratch, produce)
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(folder: Path, produce: Callable[[], Iterable[Product]]) -> None:
    ends, asins = list[int](), list[str]()
    codes: dict[str, list[int]] = {"query": [], "category": []}
    labels: dict[str, dict[str, int]] = {name: {} for name in codes}
    raw = folder / "products.raw"

    def kept() -> Iterator[Product]:
        with raw.open("wb") as file:
            for product in produce():
                file.write(json.dumps(asdict(product), ensure_ascii=False).encode())
                ends.append(file.tell())
                asins.append(product.asin)
                for name, known in labels.items():
                    codes[name].append(known.setdefault(getattr(product, name), len(known)))
                yield product

    arrays: Columns = draw(kept())
    order = np.argsort(np.asarray(asins), kind="stable").astype(np.int32)
    blob = np.memmap(raw, np.uint8, "r") if ends else np.empty(0, np.uint8)
    arrays |= {name: np.asarray(values, np.int32) for name, values in codes.items()}
    arrays |= {
        "products": blob,
        "ends": np.asarray(ends, np.int64),
        "by_asin": order,
        "asins": np.asarray(asins)[order],
    }

    def texts() -> Iterator[str]:
        for number in order.tolist():
            start = ends[number - 1] if number else 0
            yield Product.of(json.loads(blob[start : ends[number]].tobytes())).search_text()

    arrays |= Index.build(texts()).arrays()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    raw.unlink()
    (folder / "labels.json").write_text(json.dumps({name: list(known) for name, known in labels.items()}))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "sizes.json").write_text(json.dumps(sizes))
