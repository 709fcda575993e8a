"""Prices and goals, drawn as the original draws them, so that every process and every run has the same ones.

The original draws a price for each product with a price range and a price limit for each goal from Python's global
generator, and shuffles the goals with seed 233. Here the generator is seeded with 42, and one of its 32-bit words is
passed over as in the reference run of the original, which drew one before its first price.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from himac.envs.webshop.catalogue import Product

GoalKind = Literal["synthetic", "human"]
GOAL_KINDS: tuple[GoalKind, ...] = ("synthetic", "human")
SPLITS = {"test": (0, 500), "eval": (500, 1500), "train": (1500, None)}
"""Half-open ranges of goal numbers."""

PRICE_SEED = 42
SHUFFLE_SEED = 233
NO_LIMIT = 1_000_000.0
_LIMITS = [10.0 * step for step in range(1, 100)]


@dataclass(frozen=True, slots=True)
class Goal:
    """What the customer wants.

    Attributes:
        number: Its place after the shuffle.
        asin: The product it was written for.
        instruction: The task in words.
        attributes: What the product must have.
        options: What must be chosen: by name for synthetic goals, values alone for goals that people wrote.
        price_upper: The most it may cost, in dollars.
        weight: Chance of being drawn, not normalised.
    """

    number: int
    asin: str
    name: str
    query: str
    category: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    options: dict[str, str] | tuple[str, ...]
    price_upper: float
    weight: float


Columns = dict[str, NDArray[np.generic]]


def draw(products: Iterable[Product]) -> Columns:
    """Prices and goals of D products in the order of their file, as arrays.

    Returns:
        `price` float64 [D]; and for each goal kind, with G goals in shuffled order: `<kind>_product` int32 [G],
        `<kind>_choice` int32 [G] (number of the option combination, or of the human goal), `<kind>_upper` float64 [G],
        `<kind>_weight` float64 [G].
    """
    rng = random.Random(PRICE_SEED)
    rng.getrandbits(32)
    briefs = [_Brief.of(product) for product in products]
    prices = [brief.prices[0] if len(brief.prices) == 1 else rng.uniform(*brief.prices) for brief in briefs]
    columns: Columns = {"price": np.asarray(prices, np.float64)}
    state = rng.getstate()
    for kind in GOAL_KINDS:
        rng.setstate(state)
        owners, choices, uppers, weights = _goals(kind, briefs, prices, rng)
        order = list(range(len(owners)))
        random.Random(SHUFFLE_SEED).shuffle(order)
        columns[f"{kind}_product"] = owners[order]
        columns[f"{kind}_choice"] = choices[order]
        columns[f"{kind}_upper"] = uppers[order]
        columns[f"{kind}_weight"] = weights[order]
    return columns


@dataclass(frozen=True, slots=True)
class _Brief:
    """What the draws need of a product."""

    prices: tuple[float, ...]
    combinations: int
    attributes: tuple[str, ...]
    human: tuple[int, ...]

    @classmethod
    def of(cls, product: Product) -> _Brief:
        return cls(
            product.prices,
            math.prod(len(values) for values in product.options.values()),
            product.instruction_attributes if product.instruction is not None else (),
            tuple(number for number, (_, wanted, _) in enumerate(product.human) if wanted),
        )


Drawn = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]


def _goals(kind: GoalKind, briefs: Sequence[_Brief], prices: Sequence[float], rng: random.Random) -> Drawn:
    """Product, choice, price limit and weight of each goal, in the order of the products."""
    if kind == "human":
        pairs = [(number, choice) for number, brief in enumerate(briefs) for choice in brief.human]
        uppers = [_limit(prices[number], rng) for number, _ in pairs]
        owners, choices = (np.asarray(column, np.int32) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
        return owners, choices, np.asarray(uppers, np.float64), np.ones(len(pairs))
    having = [number for number, brief in enumerate(briefs) if brief.attributes]
    sizes = [briefs[number].combinations for number in having]
    limits = [_limit(prices[number], rng) for number in having]
    counts: Counter[str] = Counter()
    for number, size in zip(having, sizes, strict=True):
        for attribute in briefs[number].attributes:
            counts[attribute] += size
    shares = [
        sum(1.0 / counts[attribute] for attribute in wanted) / len(wanted) if size else 0.0
        for wanted, size in zip((briefs[number].attributes for number in having), sizes, strict=True)
    ]
    return (
        np.repeat(np.asarray(having, np.int32), sizes),
        np.concatenate([np.empty(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)]),
        np.repeat(np.asarray(limits, np.float64), sizes),
        np.repeat(np.asarray(shares, np.float64), sizes),
    )


def _limit(price: float, rng: random.Random) -> float:
    above = list(itertools.islice((limit for limit in _LIMITS if limit > price), 4))
    return max(rng.sample(above, 2)) if len(above) >= 2 else NO_LIMIT


def make_goal(kind: GoalKind, number: int, product: Product, choice: int, upper: float, weight: float) -> Goal:
    """The goal that the columns of `draw` describe."""
    limit = "" if upper == NO_LIMIT else f", and price lower than {upper:.2f} dollars"
    options: dict[str, str] | tuple[str, ...]
    if kind == "human":
        text, attributes, options = product.human[choice]
        instruction = text.strip(".") + limit
    else:
        attributes = product.instruction_attributes
        options = _combination(product.options, choice)
        chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
        instruction = f"{product.instruction}{' with ' + chosen if chosen else ''}{limit}"
    return Goal(
        number=number,
        asin=product.asin,
        name=product.title,
        query=product.query,
        category=product.category,
        product_category=product.product_category,
        instruction=instruction,
        attributes=attributes,
        options=options,
        price_upper=upper,
        weight=weight,
    )


def _combination(options: Mapping[str, tuple[str, ...]], number: int) -> dict[str, str]:
    """One value for each option; combinations count with the last name fastest."""
    chosen = {}
    for name in sorted(options, reverse=True):
        number, at = divmod(number, len(options[name]))
        chosen[name] = options[name][at]
    return dict(reversed(chosen.items()))
