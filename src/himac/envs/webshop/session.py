"""One customer's way through the shop, by the rules of the original's server and browser.

An action that the original does not accept, or fails on, changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from himac.envs.webshop import pages
from himac.envs.webshop.catalogue import Product
from himac.envs.webshop.goals import Goal
from himac.envs.webshop.nouns import Tagger
from himac.envs.webshop.pages import Page
from himac.envs.webshop.reward import Purchase, score
from himac.envs.webshop.store import Store

HITS = 50
_BASE = "http://127.0.0.1:3000"
_ACTION = re.compile(r"(.+)\[(.+)\]")
_PAGE_NAMES = ("search_results", "item_page", "item_sub_page", "done")
_SUB_PAGES = {name.lower(): name for name in pages.SUB_PAGES}


def parse_action(action: str) -> tuple[str, str | None]:
    """Name and lower-case argument of `name[argument]`; text after the last bracket is ignored."""
    match = _ACTION.match(action)
    return (match[1], match[2].lower()) if match else (action, None)


def page_name(url: str) -> str:
    """What the original takes an address for: the first known name in it, whatever put it there."""
    return next((name for name in _PAGE_NAMES if name in url), "")


@dataclass(frozen=True, slots=True)
class State:
    """What the server remembers of the customer.

    Attributes:
        keywords: Words of the last search.
        number: Which page of its results.
        asins: Products looked at since the last return to the search page.
    """

    page: Page
    keywords: tuple[str, ...] = ()
    number: int = 1
    asin: str | None = None
    asins: frozenset[str] = frozenset()
    options: tuple[tuple[str, str], ...] = ()
    purchase: Purchase | None = None


class Session:
    """A customer with a goal.

    Args:
        draw: Numbers of random products (the hidden `search[<r>]`): how many of how many.
    """

    def __init__(
        self,
        store: Store,
        goal: Goal,
        tagger: Tagger,
        fixed_options: bool,
        draw: Callable[[int, int], list[int]],
    ) -> None:
        self.store = store
        self.goal = goal
        self.tagger = tagger
        self.fixed_options = fixed_options
        self._draw = draw
        self._state = self._start()

    @property
    def page(self) -> Page:
        """The page on the screen."""
        return self._state.page

    @property
    def product(self) -> str | None:
        """Number of the product being looked at, or bought."""
        return self._state.asin

    @property
    def number(self) -> int:
        """Which page of the search results was shown last."""
        return self._state.number

    @property
    def options(self) -> dict[str, str]:
        """The options chosen so far."""
        return dict(self._state.options)

    @property
    def purchase(self) -> Purchase | None:
        """The purchase, while its page is shown."""
        return self._state.purchase

    @property
    def state(self) -> State:
        """What the server remembers; put it back to go on from there."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state

    def act(self, action: str) -> bool:
        """Carry out an action; false where it was rejected."""
        name, argument = parse_action(action)
        if argument is None:
            return False
        if name == "search":
            following = self._search(tuple(argument.split(" ")))
        elif name == "click" and argument != "search" and argument in self.page.clickables():
            following = self._click(argument)
        else:
            return False
        if following is None:
            return False
        self._state = following
        return True

    def _start(self) -> State:
        return State(pages.start_page(f"{_BASE}/{self.goal.number}", self.goal.instruction))

    def _click(self, name: str) -> State | None:
        state = self._state
        here = page_name(state.page.url)
        if name == pages.BUY.lower():
            return self._buy()
        if name == pages.BACK.lower():
            return self._start()
        if name == pages.NEXT.lower() and here == "search_results":
            return self._search(state.keywords, state.number + 1)
        if name == pages.PREVIOUS.lower() and here == "search_results":
            return self._search(state.keywords, state.number - 1)
        if name == pages.PREVIOUS.lower() and here == "item_page":
            return self._search(state.keywords, state.number)
        if name in _SUB_PAGES:
            return self._sub_page(_SUB_PAGES[name])
        if name in state.page.options:
            chosen = dict(state.options) | {state.page.options[name]: name}
            return self._item(replace(state, options=tuple(chosen.items())))
        if name != pages.PREVIOUS.lower():
            asin = name.upper()
            state = replace(state, asin=asin, asins=state.asins | {asin})
        return self._item(state)

    def _search(self, keywords: tuple[str, ...], number: int = 1) -> State | None:
        numbers = self._find(keywords)
        if numbers is None:
            return None
        window = slice((number - 1) * pages.PAGE_SIZE, number * pages.PAGE_SIZE)
        products = [self.store.product(int(item)) for item in numbers[window]]
        state = self._state
        page = pages.results_page(
            f"{_BASE}/search_results/{self.goal.number}/{'+'.join(keywords)}/{number}",
            self.goal.instruction,
            products,
            number,
            len(numbers),
            state.asins,
        )
        return State(page, keywords, number, asins=state.asins)

    def _find(self, keywords: tuple[str, ...]) -> Sequence[int] | NDArray[np.integer[Any]] | None:
        """Numbers of the products found; `None` where the original raises."""
        store = self.store
        match keywords[0]:
            case "<r>":
                if len(store) < HITS:
                    return None
                return self._draw(HITS, len(store))
            case "<a>":
                return None
            case "<c>":
                if len(keywords) < 2:
                    return None
                return store.labelled("category", keywords[1].strip())
            case "<q>":
                return store.labelled("query", " ".join(keywords[1:]).strip())
            case _:
                return store.search(" ".join(keywords), HITS)

    def _item(self, state: State) -> State | None:
        product = self._product(state.asin)
        if product is None:
            return None
        chosen = json.dumps(dict(state.options))
        url = f"{_BASE}/item_page/{self.goal.number}/{state.asin}/{'+'.join(state.keywords)}/{state.number}/{chosen}"
        return replace(state, page=pages.item_page(url, self.goal.instruction, product))

    def _sub_page(self, name: str) -> State | None:
        state = self._state
        product = self._product(state.asin)
        if product is None:
            return None
        url = (
            f"{_BASE}/item_sub_page/{self.goal.number}/{state.asin}/{'+'.join(state.keywords)}/{state.number}"
            f"/{name}/{dict(state.options)}"
        )
        return replace(state, page=pages.sub_page(url, self.goal.instruction, product, name))

    def _buy(self) -> State | None:
        state = self._state
        number = None if state.asin is None else self.store.number(state.asin)
        if number is None:
            return None
        product, chosen = self.store.product(number), dict(state.options)
        purchase = score(product, self.goal, self.store.price(number), chosen, self.tagger, self.fixed_options)
        url = f"{_BASE}/done/{self.goal.number}/{state.asin}/{chosen}"
        page = pages.done_page(url, product.asin, chosen, purchase.reward)
        return replace(state, page=page, purchase=purchase)

    def _product(self, asin: str | None) -> Product | None:
        number = None if asin is None else self.store.number(asin)
        return None if number is None else self.store.product(number)
