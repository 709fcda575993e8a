"""A scripted customer who reads the pages like anyone else: the demonstrator of the benchmark.

It searches with the words of the instruction, opens the first products that are cheap enough until one comes with the
wanted options, chooses them and buys. It does not know which product is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.goals import NO_LIMIT, Goal
from himac.envs.webshop.pages import BUY, PREVIOUS, Offer
from himac.types import Demonstration, DemoSegment, DemoTurn, Task

TRIES = 3
"""Products that are opened at most; with three, options and purchase fit into the step limit of 15."""

_NUMBER = re.compile(r"[\d.]+")


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


def demonstrate(env: WebShopEnv, task: Task, step_limit: int) -> Demonstration:
    """One episode of the scripted customer."""
    first, info = env.reset(options=dict(task.options))
    run = _Run(env, env.session.goal, first, step_limit)
    subgoals = plan(run.goal)
    stages = [run.search(), run.open(), *([run.select()] if _named(run.goal) else []), run.buy()]
    segments = []
    for subgoal, stage in zip(subgoals, stages, strict=True):
        start = run.last
        turns = [DemoTurn(action, run.last) for action in stage]
        if not run.over:
            turns.append(DemoTurn(None, "", sub_done=True))
        segments.append(DemoSegment(subgoal, start, tuple(turns)))
        if run.over:
            break
    return Demonstration(task, str(info["instruction"]), first, tuple(segments), run.won)


@dataclass
class _Run:
    """The episode so far; each stage acts and yields what it did."""

    env: WebShopEnv
    goal: Goal
    last: str
    left: int
    won: bool = False
    over: bool = False

    def search(self) -> Iterator[str]:
        yield from self._do(f"search[{_query(self.goal)}]")

    def open(self) -> Iterator[str]:
        offers = self._offers()
        for tried, name in enumerate(offers[:TRIES], 1):
            yield from self._do(f"click[{name}]")
            values = self.env.session.page.options
            if tried == min(TRIES, len(offers)) or all(value in values for _, value in _named(self.goal)):
                return
            yield from self._do(f"click[{PREVIOUS.lower()}]")

    def select(self) -> Iterator[str]:
        for _, value in _named(self.goal):
            if value in self.env.session.page.options:
                yield from self._do(f"click[{value}]")

    def buy(self) -> Iterator[str]:
        yield from self._do(f"click[{BUY.lower()}]")

    def _do(self, action: str) -> Iterator[str]:
        if self.over:
            return
        self.last, _, terminated, _, info = self.env.step(action)
        self.left -= 1
        self.won = bool(info["won"])
        self.over = terminated or not self.left
        yield action

    def _offers(self) -> list[str]:
        """Products on the page in their order, those that cost too much last."""

        def dear(offer: Offer) -> bool:
            price = _NUMBER.search(offer.price)
            return price is not None and float(price[0]) > self.goal.price_upper

        return [offer.asin.lower() for offer in sorted(self.env.session.page.offers(), key=dear)]


def _query(goal: Goal) -> str:
    return " ".join([goal.query, *goal.attributes, *(value for _, value in _named(goal))])


def _named(goal: Goal) -> list[tuple[str, str]]:
    """Wanted options as name and value; people's goals do not say the name."""
    if isinstance(goal.options, Mapping):
        return list(goal.options.items())
    return [("", value) for value in goal.options]
