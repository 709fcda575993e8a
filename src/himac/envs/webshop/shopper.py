"""A scripted customer who reads the pages like anyone else: the demonstrator of the benchmark.

It searches with the words of the instruction, opens the first products that are cheap enough until one comes with the
wanted options, chooses them and buys. It does not know which product is meant. `first_hit` is a simpler customer to
compare with.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from rapidfuzz.fuzz import ratio

from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.goals import NO_LIMIT, Goal
from himac.envs.webshop.pages import BACK, BUY, NEXT, PREVIOUS, SHOWN, SUB_PAGES, Offer
from himac.envs.webshop.view import offer_names
from himac.types import Demonstration, DemoSegment, DemoTurn, Task

TRIES = 3
"""Products that are opened at most; with three, options and purchase fit into the step limit of 15."""

_NUMBER = re.compile(r"[\d.]+")
_BUTTONS = {name.lower() for name in (BACK, BUY, NEXT, PREVIOUS, *SUB_PAGES)}


def plan(goal: Goal) -> tuple[str, ...]:
    """The blueprint of a goal: search, open, select (where there are options), buy; words of the instruction only."""
    options = _named(goal)
    limit = () if goal.price_upper == NO_LIMIT else (f"at most {goal.price_upper:.0f} dollars",)
    wanted = ", ".join([*goal.attributes, *(value for _, value in options), *limit])
    selected = ", ".join(f"{name} {value}".strip() for name, value in options)
    return (
        f"search {_query(goal)}",
        f"open {goal.query} with {wanted}",
        *((f"select {selected}",) if options else ()),
        "buy it",
    )


def demonstrate(
    env: WebShopEnv, task: Task, rng: random.Random, noise: float = 0.0, step_limit: int = 15
) -> Demonstration:
    """One episode of the scripted customer.

    Args:
        rng: Draws mistakes; unused without noise.
        noise: Probability, before each right action, of a shown mistake (`DemoTurn.train` false), followed by what
            repairs it. Mistakes take steps that would be left over, so they never cost the purchase.
        step_limit: Actions for each purchase, mistakes included, before the episode is given up.
    """
    first, info = env.reset(options=dict(task.options))
    last, won, segments = first, False, list[DemoSegment]()
    for goal in env.wanted:
        if env.session.goal is not goal:
            break  # the purchase before was not made
        run = _Run(env, goal, rng, noise, last, step_limit, step_limit - 2 * TRIES - 1 - len(_named(goal)))
        segments += run.segments()
        last, won = run.last, run.won
    return Demonstration(task, str(info["instruction"]), first, tuple(segments), won)


def first_hit(env: WebShopEnv, task: Task) -> float:
    """Score (0 to 1) of a baseline: search with the whole instruction, open the first product and buy it.

    Before that, of each wanted option the value on the page that is most like the wanted one is chosen.
    """
    _, info = env.reset(options=dict(task.options))
    env.step(f"search[{info['instruction']}]")
    found = next(iter(offer_names(env.session.page, env.observation_mode)), None)
    if found is None:
        return 0.0
    env.step(_click(found))
    offered = {value: name for value, name in env.session.page.options.items() if value not in _BUTTONS}
    for name, wanted in _named(env.session.goal):
        values = [value for value, owner in offered.items() if name in ("", owner)]
        if values:
            env.step(_click(max(values, key=partial(ratio, wanted))))
    env.step(_click(BUY))
    purchase = env.session.purchase
    return purchase.reward if purchase else 0.0


Slip = tuple[str, ...]
"""A wrong action and what repairs it."""


@dataclass
class _Run:
    """The episode so far; each stage acts and yields what it did.

    Attributes:
        left: Actions before the step limit.
        spare: How many of them mistakes and repairs may take.
    """

    env: WebShopEnv
    goal: Goal
    rng: random.Random
    noise: float
    last: str
    left: int
    spare: int
    won: bool = False
    over: bool = False

    def segments(self) -> Iterator[DemoSegment]:
        """The sub-goals of the blueprint in order, each with what was done for it."""
        stages = [self.search(), self.open(), *([self.select()] if _named(self.goal) else []), self.buy()]
        for subgoal, stage in zip(plan(self.goal), stages, strict=True):
            start = self.last
            turns = list(stage)
            if not self.over:
                turns.append(DemoTurn(None, "", sub_done=True))
            yield DemoSegment(subgoal, start, tuple(turns))
            if self.over:
                return

    def search(self) -> Iterator[DemoTurn]:
        query = _query(self.goal)
        vague = {self.goal.query, *self.goal.attributes} - {query}
        yield from self._do(f"search[{query}]", ((f"search[{words}]",) for words in sorted(vague)))

    def open(self) -> Iterator[DemoTurn]:
        page = self.env.session.page
        names = offer_names(page, self.env.observation_mode)
        dear = {offer.asin.lower(): self._dear(offer) for offer in page.offers()}
        offers = sorted(names, key=lambda name: dear[names[name]])  # those that cost too much last
        for tried, name in enumerate(offers[:TRIES], 1):
            rest = offers[tried:]
            wrong = ((_click(other), _click(PREVIOUS)) for other in rest if not self._fits(names[other]))
            yield from self._do(_click(name), wrong)
            values = self.env.session.page.options
            if tried == min(TRIES, len(offers)) or all(value in values for _, value in _named(self.goal)):
                return
            yield from self._do(_click(PREVIOUS))

    def select(self) -> Iterator[DemoTurn]:
        for _, value in _named(self.goal):
            values = self.env.session.page.options
            if value in values:
                others = [other for other in values if values[other] == values[value] and other not in _BUTTONS]
                yield from self._do(_click(value), ((_click(other),) for other in others if other != value))

    def buy(self) -> Iterator[DemoTurn]:
        pages = [name for name in SUB_PAGES[:SHOWN] if name.lower() in self.env.session.page.clickables()]
        yield from self._do(_click(BUY), ((_click(name), _click(PREVIOUS)) for name in pages))

    def _do(self, action: str, slips: Iterable[Slip] = ()) -> Iterator[DemoTurn]:
        for number, step in enumerate(self._slip(slips)):
            yield from self._step(step, train=number > 0)
        yield from self._step(action)

    def _slip(self, slips: Iterable[Slip]) -> Slip:
        """One of the slips or a click on what is not there, mostly nothing."""
        if not self.noise or self.rng.random() >= self.noise:
            return ()
        choices = [slip for slip in (*slips, *self._nowhere()) if len(slip) <= self.spare]
        chosen = self.rng.choice(choices) if choices else ()
        self.spare -= len(chosen)
        return chosen

    def _step(self, action: str, train: bool = True) -> Iterator[DemoTurn]:
        if self.over:
            return
        self.last, _, terminated, _, info = self.env.step(action)
        self.left -= 1
        self.won = bool(info["won"])
        self.over = terminated or not self.left
        yield DemoTurn(action, self.last, train=train)

    def _nowhere(self) -> list[Slip]:
        """A click that is rejected on this page."""
        page = self.env.session.page.clickables()
        words = [self.goal.query, *self.goal.attributes, BUY.lower()]
        absent = [word for word in words if word not in page]
        return [(_click(self.rng.choice(absent)),)] if absent else []

    def _fits(self, asin: str) -> bool:
        """Whether the customer would stay with a product: it is cheap enough and has the wanted options."""
        store = self.env.store
        number = store.number(asin.upper())
        if number is None or store.product(number).prices[0] > self.goal.price_upper:
            return False
        values = {value for some in store.product(number).options.values() for value in some}
        return all(value in values for _, value in _named(self.goal))

    def _dear(self, offer: Offer) -> bool:
        price = _NUMBER.search(offer.price)
        return price is not None and float(price[0]) > self.goal.price_upper


def _query(goal: Goal) -> str:
    return " ".join([goal.query, *goal.attributes, *(value for _, value in _named(goal))])


def _named(goal: Goal) -> list[tuple[str, str]]:
    """Wanted options as name and value; people's goals do not say the name."""
    if isinstance(goal.options, Mapping):
        return list(goal.options.items())
    return [("", value) for value in goal.options]


def _click(name: str) -> str:
    return f"click[{name.lower()}]"
