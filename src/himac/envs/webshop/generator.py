"""A made-up catalogue in the official schema, the same on every machine: what the package ships instead of the data.

Departments have several kinds of product; products of a kind share most of their attributes, differ in a few, and come
in similar colours and sizes, so that the first search hit is often not what was asked for.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from himac.envs.webshop.catalogue import Product, parse_product

VERSION = 1
"""Raise it when anything that is generated changes."""
PER_KIND = 30
GOALS_PER_KIND = 10
"""Products of each kind that have a goal; the others only look like them."""

_SEED = 20
_HAS = 4
"""Attributes of a product."""
_SHADES = ("black", "navy", "light grey", "dark green", "burgundy", "white", "khaki", "royal blue", "wine")
_SCENTS = ("lavender", "rose", "unscented", "lemon", "vanilla", "green tea", "ocean", "citrus mint")
_FLAVORS = ("chocolate", "vanilla", "coffee", "lemon", "mixed berry", "peanut butter", "apple", "sea salt")


@dataclass(frozen=True, slots=True)
class Department:
    """What its products have in common: category, path, attributes to have, options and their values, price range."""

    category: str
    path: str
    kinds: tuple[str, ...]
    attributes: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    prices: tuple[int, int]


DEPARTMENTS = (
    Department(
        "fashion",
        "Clothing, Shoes & Jewelry › Clothing",
        (
            *("men's dress shirts", "men's polos", "men's shorts", "women's blouses", "women's hoodies"),
            *("women's leggings", "pajama sets"),
        ),
        (
            *("machine wash", "long sleeve", "short sleeve", "slim fit", "loose fit", "cotton blend", "quick drying"),
            *("elastic waist", "button closure", "classic fit"),
        ),
        {"color": _SHADES, "size": ("small", "medium", "large", "x-large", "xx-large", "3x-large")},
        (12, 60),
    ),
    Department(
        "fashion",
        "Clothing, Shoes & Jewelry › Shoes",
        ("men's loafers", "men's hiking boots", "women's sandals", "women's running shoes", "slippers"),
        (
            *("rubber sole", "non slip", "memory foam", "arch support", "ankle strap", "leather lining", "lace up"),
            *("steel toe", "closed toe"),
        ),
        {"color": _SHADES, "size": ("6", "7", "8", "9", "10", "11", "12")},
        (20, 110),
    ),
    Department(
        "garden",
        "Home & Kitchen › Furniture",
        (
            *("console tables", "bookcases", "accent chairs", "bar stools", "storage ottomans", "nightstands"),
            "coffee tables",
        ),
        (
            *("easy assemble", "solid wood", "faux leather", "easy clean", "metal legs", "space saving"),
            *("water resistant", "engineered wood", "high density"),
        ),
        {"color": _SHADES, "size": ("18 inch", "24 inch", "30 inch", "36 inch", "48 inch")},
        (45, 320),
    ),
    Department(
        "beauty",
        "Beauty & Personal Care › Skin and Hair",
        ("face serums", "body lotions", "shampoos", "lip balms", "hand creams", "hair masks", "deodorants"),
        (
            *("cruelty free", "paraben free", "tea tree", "sensitive skin", "long lasting", "hyaluronic acid"),
            *("coconut oil", "dry skin", "natural ingredients"),
        ),
        {"scent": _SCENTS, "size": ("1 ounce", "2 ounce", "4 ounce", "8 ounce", "12 ounce")},
        (6, 45),
    ),
    Department(
        "electronics",
        "Electronics › Accessories",
        (
            *("headphones", "phone chargers", "portable speakers", "security cameras", "tablet cases", "projectors"),
            "power banks",
        ),
        (
            *("fast charging", "noise cancelling", "high definition", "wireless bluetooth", "water resistant"),
            *("carrying case", "usb port", "easy install", "long lasting"),
        ),
        {"color": _SHADES, "style": ("basic", "plus", "pro", "travel kit", "2 pack")},
        (15, 180),
    ),
    Department(
        "grocery",
        "Grocery & Gourmet Food › Snacks",
        ("protein bars", "granola", "trail mixes", "green teas", "crackers", "coffee pods", "fruit snacks"),
        (
            *("gluten free", "non gmo", "low sugar", "plant based", "keto friendly", "dairy free", "high protein"),
            *("nut free", "artificial colors"),
        ),
        {"flavor name": _FLAVORS, "size": ("single", "pack of 3", "pack of 6", "pack of 12", "pack of 24")},
        (5, 60),
    ),
)
_BRANDS = (
    *("Alderon", "Brivo", "Calmora", "Dexterra", "Elvane", "Fernwick", "Galbro", "Hollenby", "Ivarra", "Joventa"),
    *("Kestriel", "Lumaro", "Marlowe", "Norvik", "Orbano", "Pinecott", "Quillan", "Rostova", "Silvane", "Tamsin"),
)
_SERIES = ("Aspen", "Breeze", "Comet", "Drift", "Ember", "Flora", "Grove", "Haven", "Indie", "Juno", "Karma", "Luxe")

Record = dict[str, Any]


def generate() -> Iterator[Product]:
    """The catalogue in the order of its file."""
    for record, known in records():
        yield parse_product(record, known, ())


def records() -> list[tuple[Record, Record]]:
    """The products as official records: of the product file, and of the attribute file."""
    rng = random.Random(_SEED)
    made = []
    for department in DEPARTMENTS:
        for kind in department.kinds:
            # Each goal's words are its own within its kind, so that no instruction stands for two products.
            wishes = [wish for size in (2, 3) for wish in combinations(department.attributes, size)]
            rng.shuffle(wishes)
            for number in range(PER_KIND):
                wish = wishes[number] if number < GOALS_PER_KIND else ()
                made.append(make_record(department, kind, wish, rng))
    rng.shuffle(made)
    names = [letter + format(number, "02") for letter in string.ascii_uppercase for number in range(100)]
    for (record, _), name in zip(made, rng.sample(names, len(made)), strict=True):
        record["asin"] = name
    return made


def make_record(department: Department, kind: str, wish: tuple[str, ...], rng: random.Random) -> tuple[Record, Record]:
    """A product's official records, without its number: it has the wished attributes, and a goal if there are any."""
    others = [attribute for attribute in department.attributes if attribute not in wish]
    has = [*wish, *rng.sample(others, _HAS - len(wish))]
    rng.shuffle(has)
    brand, series = rng.choice(_BRANDS), rng.choice(_SERIES)
    options = {name: _some(values, rng) for name, values in department.options.items()}
    low = rng.randint(*department.prices) + rng.choice((0.0, 0.49, 0.99))
    pricing = f"${low:.2f}"
    if rng.random() < 0.15:
        pricing += f" - ${low * rng.uniform(1.1, 1.6):.2f}"
    record = {
        "name": f"{brand} {series} {kind.title().replace(chr(39) + 'S', chr(39) + 's')}, {has[0]}, {has[1]}",
        "full_description": f"The {series} by {brand}: {kind} with {has[0]}, {has[2]} and {has[3]}.",
        "small_description": [f"{text[0].upper()}{text[1:]}" for text in rng.sample(has, _HAS)],
        "pricing": pricing,
        "product_category": f"{department.path} › {kind.title()}",
        "category": department.category,
        "query": kind,
        "customization_options": {
            name: [{"value": value, "image": None} for value in values] for name, values in options.items()
        },
        "images": [""],
    }
    known: Record = {"attributes": has}
    if wish:
        known |= {"instruction": f"Find me {', '.join(wish)} {kind}", "instruction_attributes": list(wish)}
    return record, known


def _some(values: tuple[str, ...], rng: random.Random) -> list[str]:
    """Three or four of the values, in their order."""
    chosen = set(rng.sample(values, rng.randint(3, 4)))
    return [value for value in values if value in chosen]
