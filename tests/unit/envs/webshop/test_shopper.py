"""The first-hit baseline; the scripted customer is tested with the benchmark."""

import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.shopper import first_hit
from himac.envs.webshop.store import Store, open_store
from himac.envs.webshop.view import View
from himac.types import Task

TASK = Task("one", "fashion", {"goal": 0})


@pytest.mark.parametrize("view", ["compact", "text"])
def test_it_buys_the_first_product_with_the_wanted_options(view: View, builtin: Store) -> None:
    shop = WebShopBenchmark(view=view, tagger="rule")
    env = WebShopEnv(builtin, view, exact=True, tagger="rule")
    complete = 0
    for task in shop.tasks("eval")[:60]:
        score = first_hit(env, task)
        goal, bought = env.session.goal, env.session.purchase
        assert bought is not None
        first = builtin.product(int(builtin.search(goal.instruction.lower(), 50)[0]))
        assert (bought.asin, bought.reward) == (first.asin, score)
        assert isinstance(goal.options, dict)
        if all(value in first.options[name] for name, value in goal.options.items()):
            complete += 1
            assert bought.chosen == goal.options
    assert complete > 30


def shop_with(title: str, builtin: Store) -> WebShopEnv:
    """A shop with one product in two colours and sizes, and a person's goal for it that asks for others."""
    values = {"colour": ("light red", "dark blue"), "size": ("10 inch", "features")}
    wanted = ("hat", ("warm",), ("navy blue", "12 inch"))
    product = replace(
        builtin.product(0),
        title=title,
        description="",
        bullets=(),
        prices=(5.0,),
        options=values,
        human=(wanted,),
    )
    return WebShopEnv(open_store(f"test/{title}", lambda: [product]), goals="human", tagger="rule")


def test_it_chooses_the_closest_values(builtin: Store) -> None:
    env = shop_with("A hat", builtin)
    assert first_hit(env, TASK) > 0.0
    assert env.session.options == {"colour": "dark blue", "size": "10 inch"}


def test_without_a_hit_it_buys_nothing(builtin: Store) -> None:
    env = shop_with("A cap", builtin)
    assert first_hit(env, TASK) == 0.0
    assert env.session.purchase is None


def test_the_score_on_the_official_goals(official: Store, shared_dir: Path) -> None:
    env = WebShopEnv(official, tagger="textblob")
    tasks = WebShopBenchmark(str(shared_dir / "data" / "webshop"), tagger="rule").tasks("test")
    scores = [first_hit(env, task) for task in tasks]
    assert round(statistics.fmean(scores), 2) == 0.75
    assert round(scores.count(1.0) / len(scores), 2) == 0.56
