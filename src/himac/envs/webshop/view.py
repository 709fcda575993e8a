"""A short form of the pages for small models that are trained for the task.

Unlike the official text it does not repeat the instruction, and titles and texts are cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from himac.envs.webshop.pages import NEXT, SUB_PAGES, Kind, ObservationMode, Page, Piece
from himac.envs.webshop.reward import Purchase

View = ObservationMode | Literal["compact"]
VIEWS: tuple[View, ...] = (*get_args(ObservationMode), "compact")

TITLE_WORDS = 12
TEXT_WORDS = 60
START = "search page"
_NUMBERED = re.compile(r"click\[(\d+)\][^\]]*")
_HEAD = 2
"""Pieces with which every page but the first and last begins: the instruction."""


def render(page: Page, view: View, chosen: Mapping[str, str], purchase: Purchase | None) -> str:
    """A page in a view.

    Args:
        chosen: The options chosen so far.
        purchase: The purchase, on the page after it.
    """
    return compact(page, chosen, purchase) if view == "compact" else page.text(view)


def offer_names(page: Page, view: View) -> dict[str, str]:
    """The products of a page of results: what is clicked -> product.

    The official texts name a product by its ten letters and digits, which a small model copies badly. The compact view
    counts from 1.
    """
    asins = [offer.asin.lower() for offer in page.offers()]
    return (
        {str(n): asin for n, asin in enumerate(asins, 1)} if view == "compact" else dict(zip(asins, asins, strict=True))
    )


def clickables(page: Page, view: View) -> list[str]:
    """What can be clicked on a page, in the words of the view."""
    texts = page.clickables()
    if view != "compact":
        return texts
    names = {asin: name for name, asin in offer_names(page, view).items()}
    return [names.get(text, text) for text in texts]


def spell(action: str, page: Page, view: View) -> str:
    """The action in the shop's own words: a product's number in the compact view becomes its name."""
    if view != "compact" or (clicked := _NUMBERED.fullmatch(action)) is None:
        return action
    asin = offer_names(page, view).get(clicked[1])
    return action if asin is None else f"click[{asin}]"


def compact(page: Page, chosen: Mapping[str, str], purchase: Purchase | None) -> str:
    """The page in few words.

    The search page is `search page`; results are one line a product with its number on the page (see `offer_names`),
    price and title; a product is its title and price and one line an option, `*` behind what was chosen; other pages
    are their text.
    """
    if purchase is not None:
        return f"bought {purchase.asin.lower()}, score {purchase.reward:.2f}"
    if page.searchable:
        return START
    pieces = [piece for piece in page.pieces if piece.kind is not Kind.BUTTON][_HEAD:]
    if any(piece.text in SUB_PAGES for piece in page.pieces if piece.kind is Kind.BUTTON):
        return "\n".join(_product(page, pieces, chosen))
    if any(piece.text == NEXT for piece in page.pieces if piece.kind is Kind.BUTTON):
        lines = [f"{n} {offer.price} {_cut(offer.title, TITLE_WORDS)}" for n, offer in enumerate(page.offers(), 1)]
        return "\n".join([pieces[0].text.split(" (")[0].lower(), *lines])
    return _cut("; ".join(piece.text.strip() for piece in pieces), TEXT_WORDS) or "nothing"


def _product(page: Page, pieces: Sequence[Piece], chosen: Mapping[str, str]) -> Iterable[str]:
    """Title and price, then the options."""
    names = dict.fromkeys(page.options.values())
    *title, price, _ = (piece.text for piece in pieces if piece.kind is Kind.PLAIN and piece.text not in names)
    yield f"{_cut(' '.join(title), TITLE_WORDS)} {price.removeprefix('Price: ')}"
    for name in names:
        values = [value for value, owner in page.options.items() if owner == name]
        yield f"{name}: " + " | ".join(f"{value}*" if chosen.get(name) == value else value for value in values)


def _cut(text: str, words: int) -> str:
    return " ".join(text.split()[:words])
