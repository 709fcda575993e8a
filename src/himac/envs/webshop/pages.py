"""The pages of the shop as lists of pieces, and the two texts the original makes of its HTML."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Literal, NamedTuple

from himac.envs.webshop.catalogue import Product

ObservationMode = Literal["text", "text_rich"]

BACK = "Back to Search"
PREVIOUS = "< Prev"
NEXT = "Next >"
BUY = "Buy Now"
SEARCH = "Search"
SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")
"""The last one has no button, but an option of this name opens it."""
SHOWN = 3
"""How many of `SUB_PAGES` have a button."""
PAGE_SIZE = 10
RATING = "N.A."

_HTML_BLANKS = " \n\t\f\r"


class Kind(Enum):
    """What a piece of text is on the page."""

    PLAIN = "plain"
    BUTTON = "button"
    LINK = "link"
    OPTION = "option"


class Piece(NamedTuple):
    """One visible text, as the page holds it."""

    text: str
    kind: Kind = Kind.PLAIN


class Offer(NamedTuple):
    """A product among search results."""

    asin: str
    title: str
    price: str


@dataclass(frozen=True, slots=True)
class Page:
    """What is on the screen.

    Attributes:
        pieces: Visible texts from top to bottom.
        options: Name of the option each value belongs to; of two options with the same value the last one counts.
        searchable: Whether there is a search bar.
        url: Its address as the original writes it.
        visited: Links that were followed before.
    """

    pieces: tuple[Piece, ...]
    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    searchable: bool = False
    visited: Collection[str] = ()

    def clickables(self) -> list[str]:
        """Arguments of `click`, in the original's order: buttons, products, option values."""
        buttons = [piece.text.lower() for piece in self.pieces if piece.kind is Kind.BUTTON]
        links = [piece.text.lower() for piece in self.pieces if piece.kind is Kind.LINK]
        return list(dict.fromkeys([*buttons, *links, *self.options]))

    def offers(self) -> list[Offer]:
        """The products listed on a page of search results."""
        pieces = [piece for piece in self.pieces if piece.kind is not Kind.BUTTON]
        bounds = [at for at, piece in enumerate(pieces) if piece.kind is Kind.LINK] + [len(pieces)]
        texts = [[piece.text for piece in pieces[start:end]] for start, end in pairwise(bounds)]
        return [Offer(asin, " ".join(title), price) for asin, *title, price in texts]

    def text(self, mode: ObservationMode) -> str:
        """The page in an observation mode."""
        if mode == "text":
            return " [SEP] ".join(piece.text.strip() for piece in self.pieces)
        lines, clicked = [], []
        for text, kind in self.pieces:
            if kind is Kind.PLAIN:
                line = text
            elif kind is Kind.BUTTON:
                line = f"[button] {text} [button_]"
            elif kind is Kind.LINK:
                mark = "clicked button" if text in self.visited else "button"
                line = f"\n[{mark}] {text} [{mark}_]"
            elif f'"{text}"' in self.url:
                line = f"  [clicked button] {text} [clicked button_]"
                clicked.append(f"You have clicked {text}.")
            else:
                line = f"  [button] {text} [button_]"
            lines.append(line)
        return "".join(f"{line}\n" for line in [*reversed(clicked), *lines])


def start_page(url: str, instruction: str) -> Page:
    """The search page."""
    head = [Piece("WebShop"), Piece("Instruction: "), *_visible(instruction)]
    return Page((*head, Piece(SEARCH, Kind.BUTTON)), url, searchable=True)


def results_page(
    url: str, instruction: str, products: Sequence[Product], number: int, total: int, visited: Collection[str]
) -> Page:
    """One page of search results."""
    pieces = _head(instruction)
    pieces += [Piece(BACK, Kind.BUTTON), Piece(f"Page {number} (Total results: {total})")]
    if number > 1:
        pieces.append(Piece(PREVIOUS, Kind.BUTTON))
    pieces.append(Piece(NEXT, Kind.BUTTON))
    for product in products:
        pieces.append(Piece(product.asin, Kind.LINK))
        pieces += [*_visible(product.title), Piece(product.price_tag)]
    return Page(tuple(pieces), url, visited=visited)


def item_page(url: str, instruction: str, product: Product) -> Page:
    """A product with its options."""
    pieces = [*_head(instruction), Piece(BACK, Kind.BUTTON), Piece(PREVIOUS, Kind.BUTTON)]
    options = {}
    for name, values in product.options.items():
        pieces += _visible(name)
        for value in values:
            pieces += _visible(value, Kind.OPTION)
            options[value] = name
    pieces += [*_visible(product.title), Piece(f"Price: {product.price_tag}"), Piece(f"Rating: {RATING}")]
    pieces += [Piece(name, Kind.BUTTON) for name in (*SUB_PAGES[:SHOWN], BUY)]
    return Page(tuple(pieces), url, options)


def sub_page(url: str, instruction: str, product: Product, name: str) -> Page:
    """Description, features or reviews of a product; there are no reviews in the data."""
    pieces = [*_head(instruction), Piece(BACK, Kind.BUTTON), Piece(PREVIOUS, Kind.BUTTON)]
    if name == "Description":
        pieces += _visible(product.description)
    elif name == "Features":
        for bullet in product.bullets:
            pieces += _visible(f" {bullet}")
    elif name == "Attributes":
        for attribute in product.attributes:
            pieces += _visible(f" {attribute}")
        for label in (product.category, product.query, product.product_category):
            pieces += _visible(label)
    return Page(tuple(pieces), url)


def done_page(url: str, asin: str, options: Mapping[str, str], reward: float) -> Page:
    """The page after a purchase; the original leaves most of its fields empty."""
    bought = ["asin", asin, "options", to_json(options)]
    fields = [word for label in ("attrs", "category", "query", "product category") for word in (label, "None")]
    wanted = ["asin", "options", "attrs", "price upper", "instuction text", "category", "product category", "query"]
    texts = [
        *("Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"),
        *("Purchased", *bought, *fields, "Target", *wanted, "Goal ", "None", "Reward"),
        *("Your score (min 0.0, max 1.0)", str(reward), "Reward Details ", "None"),
    ]
    return Page(tuple(map(Piece, texts)), url)


def to_json(options: Mapping[str, str]) -> str:
    """Options in the web template's JSON: keys sorted, characters with a meaning in HTML escaped."""
    text = json.dumps(options, sort_keys=True)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _head(instruction: str) -> list[Piece]:
    return [Piece("Instruction:"), *_visible(instruction)]


def _visible(text: str, kind: Kind = Kind.PLAIN) -> Iterable[Piece]:
    """The text as an HTML reader sees it: nothing but blanks is one blank, or no text if a line ends in it."""
    if text.strip(_HTML_BLANKS):
        return (Piece(text, kind),)
    return (Piece(" ", kind),) if text and "\n" not in text else ()
