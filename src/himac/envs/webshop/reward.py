"""What a purchase is worth: type x (attributes + options + price) / what was asked for.

Word comparisons are those of thefuzz's `token_set_ratio`, computed by rapidfuzz.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from himac.envs.webshop.catalogue import Product
from himac.envs.webshop.goals import Goal
from himac.envs.webshop.nouns import Tagger

_COLOURS = (
    "alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel "
    "camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry "
    "cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green "
    "grey heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot "
    "midnight mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple "
    "rainbow red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan "
    "taupe teal tiger turquoise violet walnut wheat white wine yellow"
)
COLOURS = tuple(_COLOURS.split())
"""Colours in the order in which the original looks for them."""

_SIMILAR = 85
_LATIN_1 = dict.fromkeys(range(128, 256))


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase and its score.

    Attributes:
        reward: Between 0 and 1.
        r_type: Factor for the kind of product: 0, 0.1, 0.5 or 1.
        title_score: Share of the wanted name's nouns in the bought one's.
        attribute_hits, option_hits, price_hit: What was met.
        attributes, options: How many were asked for.
        tagger: What found the nouns.
    """

    asin: str
    chosen: dict[str, str]
    price: float
    reward: float
    r_type: float
    title_score: float
    query_match: bool
    category_match: bool
    attribute_hits: int
    option_hits: int
    price_hit: bool
    attributes: int
    options: int
    tagger: str

    def details(self) -> dict[str, float | bool]:
        """The parts under the names of the original; `r_option` and `w_option` only where options were asked for."""
        total = self.attributes + self.options + 1
        parts: dict[str, float | bool] = {
            "r_type": self.r_type,
            "r_att": self.attribute_hits / self.attributes,
            "w_att": self.attributes / total,
            "query_match": self.query_match,
            "category_match": self.category_match,
            "title_score": self.title_score,
        }
        if self.options:
            parts |= {"r_option": self.option_hits / self.options, "w_option": self.options / total}
        return parts | {"r_price": self.price_hit, "w_price": 1 / total}


def score(
    product: Product, goal: Goal, price: float, chosen: Mapping[str, str], tagger: Tagger, fixed_options: bool = False
) -> Purchase:
    """Score a purchase.

    Args:
        chosen: The chosen value of each option, by name.
        fixed_options: Compare option values with option values. The original compares them with pairs of name and
            value for synthetic goals, and then does not find a colour in them; buying the very product and options
            that were asked for can score below 1.
    """
    query_match = product.query == goal.query
    category_match = len(_path(product) & _path(goal)) >= 2
    title_score = _title_score(tagger.nouns(product.title), tagger.nouns(goal.name))
    if title_score == 0.0:
        r_type = 0.0
    elif title_score < 0.1:
        r_type = 0.1
    else:
        r_type = 1.0 if query_match or category_match or title_score > 0.2 else 0.5
    attribute_hits = count_attributes(product, goal.attributes)
    option_hits = count_options(wanted_options(goal, fixed_options), chosen.values())
    price_hit = price <= goal.price_upper
    total = len(goal.attributes) + len(goal.options) + 1
    return Purchase(
        asin=product.asin,
        chosen=dict(chosen),
        price=price,
        reward=(attribute_hits + option_hits + price_hit) / total * r_type,
        r_type=r_type,
        title_score=title_score,
        query_match=query_match,
        category_match=category_match,
        attribute_hits=attribute_hits,
        option_hits=option_hits,
        price_hit=price_hit,
        attributes=len(goal.attributes),
        options=len(goal.options),
        tagger=tagger.name,
    )


def count_attributes(product: Product, wanted: Iterable[str]) -> int:
    """How many attributes the product has, by its attribute list or in its texts."""
    texts = (product.title.lower(), " ".join(product.bullets).lower(), product.description.lower())
    return sum(
        any(_similar(has, attribute) for has in product.attributes) or any(attribute in text for text in texts)
        for attribute in wanted
    )


def wanted_options(goal: Goal, fixed: bool) -> list[str]:
    """The goal's options as they are compared."""
    if isinstance(goal.options, tuple):
        return [_colour(value) for value in goal.options]
    if fixed:
        return [_colour(value) for value in goal.options.values()]
    # The original looks the colour up in the pair itself, where only a whole name or value can be equal to it.
    return [next((colour for colour in COLOURS if colour in pair), str(pair)) for pair in goal.options.items()]


def count_options(wanted: Iterable[str], chosen: Iterable[str]) -> int:
    """How many of the (colour-normalised) wanted options were chosen."""
    bought = [_colour(value) for value in chosen]
    return sum(any(_similar(value, option) for value in bought) for option in wanted)


def _path(item: Product | Goal) -> set[str]:
    return {part.strip() for part in item.product_category.split("›")}


def _title_score(bought: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    return len(set(bought) & set(wanted)) / len(wanted) if wanted else 0.2


def _colour(value: str) -> str:
    """The first colour in a value, else the value."""
    return next((colour for colour in COLOURS if colour in value), value)


def _similar(one: str, other: str) -> bool:
    return round(token_set_ratio(_processed(one), _processed(other))) > _SIMILAR


@lru_cache(maxsize=1 << 16)
def _processed(text: str) -> str:
    return default_process(text.translate(_LATIN_1))
