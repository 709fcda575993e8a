"""Any number of made-up products as official WebShop files, for measuring at scale; the same on every machine.

    python benchmarks/webshop_products.py FOLDER --products 20000

Each is a product of the built-in generator, with free text around it that is shaped like the official products': about
110 search terms each, words by Zipf's law with a vocabulary that grows as the 0.63rd power of the text (900 thousand
terms in a million products), stop words, inflected forms, typographic characters in four products of ten, and goals for
four of ten. Kinds and brands grow with the number of products. One product is in memory at a time.
"""

import argparse
import json
import random
import string
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from himac.envs.webshop.analysis import STOP_WORDS
from himac.envs.webshop.benchmark import FILES
from himac.envs.webshop.generator import DEPARTMENTS, make_record

SEED = 7
DRAWN = 1 << 20
"""Words that are drawn at a time."""
GOALS = 0.4
"""Share of the products with a goal."""
PRODUCTS_PER_KIND = 250
BULLETS, BULLET_WORDS = 5, 18

# Ranks are drawn from a Lomax distribution; its shape is what the 0.63rd power of the text comes from.
SHAPE, SCALE = 0.59, 80.0
_SYLLABLES = [
    first + second for first in "bcdfghjklmnprstvwz" for second in ("a", "e", "i", "o", "u", "ai", "or", "en")
]
_ENDINGS = ("", "", "", "", "s", "ing", "ed", "er", "ation", "able")
_STOPS = tuple(sorted(STOP_WORDS))
_MARKS = ("™", "®", "’s", " – ", "…")


@lru_cache(maxsize=1 << 18)
def word(rank: int) -> str:
    """The word of a rank: syllables and an ending, some with digits; two ranks may share a stem."""
    text, rest = "", rank + len(_SYLLABLES)
    while rest:
        rest, at = divmod(rest, len(_SYLLABLES))
        text += _SYLLABLES[at]
    return f"{text}{rank % 97}" if rank % 11 == 10 else text + _ENDINGS[rank % len(_ENDINGS)]


class Words:
    """Free text by Zipf's law, from one generator."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._drawn = iter(())

    def take(self, count: int) -> str:
        """So many words."""
        return " ".join([self._next() for _ in range(count)])

    def _next(self) -> str:
        rank = next(self._drawn, None)
        if rank is None:
            shares = self._rng.random(DRAWN)
            ranks = (SCALE * ((1 - shares) ** (-1 / SHAPE) - 1)).clip(max=1 << 40).astype(np.int64)
            # Every fourth word is a stop word.
            ranks[::4] = -1 - self._rng.integers(len(_STOPS), size=len(ranks[::4]))
            self._drawn = iter(ranks.tolist())
            return self._next()
        return _STOPS[-1 - rank] if rank < 0 else word(rank)


def products(count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The records of the product file and of the attribute file."""
    rng, words = random.Random(SEED), Words(SEED)
    kinds = [(department, kind) for department in DEPARTMENTS for kind in department.kinds]
    # Any odd factor that 3 does not divide makes the numbers differ.
    codes = (number * 0x9E3779B1 % 36**9 for number in range(count))
    for code in codes:
        department, kind = rng.choice(kinds)
        style = rng.randrange(max(count // (PRODUCTS_PER_KIND * len(kinds)), 1))
        kind = f"{word(1000 + 17 * style)} {kind}" if style else kind
        wish = tuple(rng.sample(department.attributes, rng.choice((2, 3)))) if rng.random() < GOALS else ()
        record, known = make_record(department, kind, wish, rng)
        mark = rng.choice(_MARKS) if rng.random() < 0.4 else ""
        length = min(round(rng.lognormvariate(3.9, 0.9)), 2000)
        record["asin"] = f"B{_base36(code):0>9}"
        record["name"] = f"{words.take(3).title()}{mark} {record['name']}, {words.take(6)}"
        record["full_description"] = f"{record['full_description']} {words.take(length).capitalize()}{mark}."
        record["small_description"] = [
            f"{text}: {words.take(BULLET_WORDS)}{mark}" for text in (*record["small_description"], "More")[:BULLETS]
        ]
        yield record, known


def write(folder: Path, count: int) -> None:
    """The two files of the official names."""
    names = FILES[-1]
    with (folder / names[0]).open("w", encoding="utf-8") as shop, (folder / names[1]).open("w") as attributes:
        start = "[", "{"
        for record, known in products(count):
            shop.write(f"{start[0]}{json.dumps(record)}")
            attributes.write(f"{start[1]}{json.dumps(record['asin'])}: {json.dumps(known)}")
            start = ", ", ", "
        shop.write("]")
        attributes.write("}")


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = (string.digits + string.ascii_uppercase)[digit] + text
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--products", type=int, default=20_000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write(arguments.folder, arguments.products)


if __name__ == "__main__":
    main()
