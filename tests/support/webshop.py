"""What the WebShop tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from himac.envs.webshop.index import Index
from himac.envs.webshop.indexing import Indexer
from himac.envs.webshop.nouns import Tagger
from himac.envs.webshop.store import Store
from support.golden import Record, cases, shipped


def recorded_tagger(store: Store, shared: Path) -> Tagger:
    """The tagger of the recorded cases: the nouns it found in the titles that occur in them."""
    nouns: dict[str, tuple[str, ...]] = {}

    def learn(asin: str, goal_name: str, parts: dict[str, Any]) -> None:
        number = store.number(asin)
        assert number is not None
        nouns[store.product(number).title] = tuple(parts["nouns_purchased"])
        nouns[goal_name] = tuple(parts["nouns_goal"])

    for case in cases(shared, "webshop_reward"):
        learn(case["purchased_asin"], case["goal"]["name"], case["parts"])
    for episode in with_purchase(cases(shared, "webshop_episodes")):
        learn(episode["final"]["purchased_asin"], episode["goal"]["name"], episode["final"]["parts"])
    return Tagger("recorded", nouns.__getitem__)


def with_purchase(episodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recorded episodes in which something was bought."""
    return [episode for episode in episodes if episode["final"]]


def recorded_catalogue(name: str) -> Record:
    """What the original shop did with the generated catalogue; a record of `golden/record_webshop.py`."""
    return next(record for record in shipped("webshop") if record["id"] == name)


def build_index(texts: Iterable[str], rank: Iterable[int] | None = None) -> Index:
    """An index of texts, in their order where no other is given."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as scratch:
        indexer, count = Indexer(Path(folder), scratch), 0
        for text in texts:
            indexer.add(text)
            count += 1
        indexer.finish(np.asarray(range(count) if rank is None else list(rank), np.int32))
        return Index.of({path.stem: np.load(path) for path in Path(folder).glob("*.npy")})
