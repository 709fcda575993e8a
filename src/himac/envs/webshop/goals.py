"""Prices and goals, drawn as the original draws them, so that every process and every run has the same ones.

The original draws a price for each product with a price range and a price limit for each goal from Python's global
generator, and shuffles the goals with seed 233. Here the generator is seeded with 42, and one of its 32-bit words is
passed over as in the reference run of the original, which drew one before its first price. Its human goals were made by
another run without that word, so their limits follow prices that were drawn without it.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
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
    """Prices and goals of D products in the order of their file, as arrays; the products are taken one by one.

    Returns:
        `price` float64 [D]; and for each goal kind, with G goals in shuffled order: `<kind>_product` int32 [G],
        `<kind>_choice` int32 [G] (number of the option combination, or of the human goal), `<kind>_upper` float64 [G],
        `<kind>_weight` and `<kind>_sum` float64 [G] (the weight, and all weights up to it).
    """
    rng, other = random.Random(PRICE_SEED), random.Random(PRICE_SEED)
    rng.getrandbits(32)
    prices, synthetic, human = array("d"), _Synthetic(), _Human()
    for number, product in enumerate(products):
        if len(product.prices) == 1:
            prices.append(product.prices[0])
        else:
            prices.append(rng.uniform(*product.prices))
            other.uniform(*product.prices)
        synthetic.add(number, product)
        human.add(number, product)
    columns: Columns = {"price": np.asarray(prices)}
    drawn: tuple[tuple[_Synthetic | _Human, random.Random], ...] = ((synthetic, rng), (human, other))
    for kind, (goals, generator) in zip(GOAL_KINDS, drawn, strict=True):
        limits = np.asarray([_limit(prices[owner], generator) for owner in goals.owners], np.float64)
        sizes, choices, weights = goals.columns()
        shuffled = array("i", range(len(choices)))
        random.Random(SHUFFLE_SEED).shuffle(shuffled)
        order = np.asarray(shuffled)
        columns[f"{kind}_product"] = np.repeat(np.asarray(goals.owners), sizes)[order]
        columns[f"{kind}_choice"] = choices[order]
        columns[f"{kind}_upper"] = np.repeat(limits, sizes)[order]
        columns[f"{kind}_weight"] = weights[order]
        columns[f"{kind}_sum"] = np.cumsum(weights[order])
    return columns


Drawn = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]


class _Human:
    """Goals that people wrote: those of them that name an attribute, each with a price limit of its own."""

    def __init__(self) -> None:
        self.owners, self._choices = array("i"), array("i")

    def add(self, number: int, product: Product) -> None:
        for choice, (_, wanted, _) in enumerate(product.human):
            if wanted:
                self.owners.append(number)
                self._choices.append(choice)

    def columns(self) -> Drawn:
        """How many goals each owner has; choice and weight of each goal."""
        count = len(self.owners)
        return np.ones(count, np.int32), np.asarray(self._choices), np.ones(count)


class _Synthetic:
    """A goal for each combination of options of the products with an instruction, with one price limit a product."""

    def __init__(self) -> None:
        self.owners, self._sizes = array("i"), array("i")
        self._wanted, self._ends = array("i"), array("q")
        self._codes: dict[str, int] = {}
        self._counts = array("q")

    def add(self, number: int, product: Product) -> None:
        if product.instruction is None or not product.instruction_attributes:
            return
        size = math.prod(map(len, product.options.values()))
        for attribute in product.instruction_attributes:
            code = self._codes.setdefault(attribute, len(self._codes))
            if code == len(self._counts):
                self._counts.append(0)
            self._counts[code] += size
            self._wanted.append(code)
        self.owners.append(number)
        self._sizes.append(size)
        self._ends.append(len(self._wanted))

    def columns(self) -> Drawn:
        """How many goals each owner has; choice and weight of each goal."""
        sizes = np.asarray(self._sizes)
        starts = np.repeat(np.cumsum(sizes, dtype=np.int64) - sizes, sizes)
        choices = (np.arange(len(starts)) - starts).astype(np.int32)
        return sizes, choices, np.repeat(np.asarray(list(self._shares()), np.float64), sizes)

    def _shares(self) -> Iterator[float]:
        """The weight of each owner's goals: the rarer its attributes, the more."""
        start = 0
        for size, end in zip(self._sizes, self._ends, strict=True):
            wanted = self._wanted[start:end]
            yield sum(1.0 / self._counts[code] for code in wanted) / len(wanted) if size else 0.0
            start = end


def _limit(price: float, rng: random.Random) -> float:
    at = bisect_right(_LIMITS, price)
    above = _LIMITS[at : at + 4]
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
