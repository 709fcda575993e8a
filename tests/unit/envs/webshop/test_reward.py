from dataclasses import replace
from pathlib import Path

import pytest

from himac.envs.webshop.goals import Goal
from himac.envs.webshop.nouns import Tagger, make_tagger
from himac.envs.webshop.reward import count_options, score, wanted_options
from himac.envs.webshop.store import Store
from himac.errors import ConfigError
from support.golden import Trail, cases
from support.webshop import recorded_catalogue, recorded_tagger


def test_scores_are_those_of_the_reference(official: Store, shared_dir: Path) -> None:
    tagger = recorded_tagger(official, shared_dir)
    for case in cases(shared_dir, "webshop_reward"):
        given, parts = case["goal"], case["parts"]
        options = given["goal_options"]
        goal = Goal(
            number=0,
            asin=given["asin"],
            name=given["name"],
            query=given["query"],
            category=given["category"],
            product_category=given["product_category"],
            instruction=given["instruction_text"],
            attributes=tuple(given["attributes"]),
            options=tuple(options) if isinstance(options, list) else options,
            price_upper=given["price_upper"],
            weight=1.0,
        )
        product = official.product(official.number(case["purchased_asin"]))  # type: ignore[arg-type]
        purchase = score(product, goal, case["price"], case["options"], tagger)
        assert purchase.reward == case["reward"]
        assert purchase.details() == case["info"]
        assert (purchase.attribute_hits, purchase.option_hits, purchase.price_hit) == (
            *(parts["num_attr_matches"], parts["num_option_matches"], parts["r_price"]),
        )


def test_scores_in_the_generated_catalogue_are_the_original_s(builtin: Store) -> None:
    """Purchases of all kinds, with every part of the score; the nouns of titles are ours in the recording too."""
    recorded, trail, tagger = recorded_catalogue("rewards"), Trail(), make_tagger("rule")
    kinds = set()
    for number, asin, chosen in recorded["actions"]:
        at = builtin.number(asin)
        assert at is not None
        purchase = score(builtin.product(at), builtin.goal("synthetic", number), builtin.price(at), chosen, tagger)
        trail.add(purchase.reward, purchase.details())
        kinds.add(purchase.r_type)
    trail.assert_equal(recorded, recorded["actions"])
    assert len(kinds) > 2


def test_the_tagger_of_the_reference(shared_dir: Path, official: Store) -> None:
    tagger = make_tagger("textblob")
    for case in cases(shared_dir, "webshop_reward"):
        assert list(tagger.nouns(case["goal"]["name"])) == case["parts"]["nouns_goal"]


def perfect(store: Store, number: int, fixed: bool) -> float:
    """The score of buying exactly what was asked for."""
    goal = store.goal("synthetic", number)
    at = store.number(goal.asin)
    assert at is not None
    assert isinstance(goal.options, dict)
    whole = Tagger("whole", lambda name: (name,))
    return score(store.product(at), goal, store.price(at), goal.options, whole, fixed).reward


def test_the_defect_of_the_options(official: Store) -> None:
    numbers = range(official.goals("synthetic"))
    assert sum(perfect(official, number, False) < 1 for number in numbers) == 458
    assert all(perfect(official, number, True) == 1 for number in numbers[::7])


def test_the_generated_catalogue_does_not_meet_the_defect(builtin: Store) -> None:
    assert all(perfect(builtin, number, False) == 1 for number in range(builtin.goals("synthetic")))


def test_options(builtin: Store) -> None:
    goal = replace(builtin.goal("synthetic", 0), options={"color": "navy blue", "size": "christmasx"})
    assert wanted_options(goal, True) == ["blue", "christmas"]
    assert wanted_options(goal, False) == ["('color', 'navy blue')", "('size', 'christmasx')"]
    assert count_options(wanted_options(goal, False), ["sky blue", "christmasx"]) == 1
    assert count_options(wanted_options(goal, True), ["sky blue", "christmasx"]) == 2
    named = replace(goal, options={"color": "silver"})
    assert wanted_options(named, False) == ["silver"]


@pytest.mark.parametrize(
    ("bought", "wanted", "query", "r_type"),
    [
        ((), ("a",), True, 0.0),
        (("a",), tuple("abcdefghijkl"), True, 0.1),
        (("a",), ("a", "b", "c", "d", "e", "f"), False, 0.5),
        (("a",), ("a", "b", "c", "d", "e", "f"), True, 1.0),
        (("a",), ("a", "b"), False, 1.0),
        (("a",), (), False, 0.5),
    ],
)
def test_the_kind_of_product(
    bought: tuple[str, ...], wanted: tuple[str, ...], query: bool, r_type: float, builtin: Store
) -> None:
    goal = replace(builtin.goal("synthetic", 0), name="wanted")
    at = builtin.number(goal.asin)
    assert at is not None
    product = replace(
        builtin.product(at), title="bought", product_category="", query=goal.query if query else "something else"
    )
    tagger = Tagger("given", lambda name: bought if name == "bought" else wanted)
    assert score(product, goal, 1.0, {}, tagger).r_type == r_type


def test_taggers() -> None:
    nouns = make_tagger("rule").nouns("Acme Soft Leather Shoes for Men, 2 Pack, Waterproof")
    assert nouns == ("acme", "leather", "shoes", "men", "pack")
    assert make_tagger().name in ("spacy:en_core_web_sm", "textblob", "rule")
    with pytest.raises(ConfigError, match="tagger"):
        make_tagger("magic")
