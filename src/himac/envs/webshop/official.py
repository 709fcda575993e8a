"""The official WebShop files: what they are like, and whether a folder has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from himac.envs.official import Known, OfficialData, Part, compare
from himac.envs.webshop.benchmark import FILES, HUMAN, WebShopBenchmark
from himac.envs.webshop.goals import GOAL_KINDS
from himac.errors import DataError

KNOWN = {
    "synthetic goals, train": Known(5410, "f78077c024130ff7880f1c82791bf3d3969b68028499d77054cd4880dee2d8ce"),
    "synthetic goals, eval": Known(1000, "7769b7bbb261abd963cae224571b482bba82f64d3428bd8f0d93a6d9a9bbd8c2"),
    "synthetic goals, test": Known(500, "e0dcd8e17213bbc2fce16397eb0d023fa827897204dadccc2db1d08ae5c05ba9"),
    "human goals, test": Known(13, "8a144fe9e8fa5cac4c8899dbcb6cfd229239ad1958845b85cf633abe4735484d"),
}
"""Splits of the 1000 products; the hash is `WebShopBenchmark.split_hash`. Those of all products are not known."""

PRODUCTS = 1000


def check_data(root: Path) -> Iterator[Part]:
    """The files, then products and splits of the set that is used: the 1000 products where both sets are there."""
    there = {name for name in (*sum(FILES, ()), HUMAN) if (root / name).is_file()}
    complete = [pair for pair in FILES if there.issuperset(pair)]
    if complete:
        yield from _check_goals(root, small=complete[0] == FILES[0], human=HUMAN in there)
    else:
        # The set is named that is there by half; with nothing there, the small one.
        for name in max(FILES, key=lambda names: len(there.intersection(names))):
            yield Part(name, "ok", "found") if name in there else Part(name, "missing", f"not in {root}")
    if HUMAN not in there:
        yield Part(HUMAN, "missing", "only env.kwargs.goals=human needs it", needed=False)


def _check_goals(root: Path, small: bool, human: bool) -> Iterator[Part]:
    try:
        shop = WebShopBenchmark(str(root), tagger="rule")
        count = len(shop.store)
    except DataError as error:
        yield Part("products", "broken", str(error))
        return
    yield compare("products", Known(PRODUCTS if small else None), "products", lambda: (count, None))
    for kind in GOAL_KINDS if human else GOAL_KINDS[:1]:
        shop = WebShopBenchmark(str(root), goals=kind, tagger="rule")
        try:
            splits = shop.splits()
        except DataError as error:
            yield Part(f"{kind} goals", "broken", str(error))
            continue
        for split in splits:
            name = f"{kind} goals, {split}"
            known = KNOWN.get(name, Known()) if small else Known()
            yield compare(name, known, "goals", partial(_read, shop, split))


def _read(shop: WebShopBenchmark, split: str) -> tuple[int, str]:
    return len(shop.tasks(split)), shop.split_hash(split)


OFFICIAL = OfficialData(
    "WEBSHOP_DATA",
    "setup.sh -d small (1000 products) or -d all of https://github.com/princeton-nlp/WebShop puts it into data/",
    check_data,
)
