import random
from dataclasses import replace
from pathlib import Path

from himac.envs.webshop.goals import NO_LIMIT, draw, make_goal
from himac.envs.webshop.store import Store
from support.golden import Trail, cases
from support.webshop import recorded_catalogue


def test_prices_are_those_of_the_reference(official: Store, shared_dir: Path) -> None:
    expected = [(case["asin"], case["price"]) for case in cases(shared_dir, "webshop_prices")]
    assert [(official.product(n).asin, official.price(n)) for n in range(len(official))] == expected


def test_prices_of_the_generated_catalogue_are_the_original_s(builtin: Store) -> None:
    trail, numbers = Trail(), range(len(builtin))
    for number in numbers:
        trail.add(builtin.product(number).asin, builtin.price(number))
    trail.assert_equal(recorded_catalogue("prices"), numbers)


def test_goals_of_the_generated_catalogue_are_the_original_s(builtin: Store) -> None:
    trail, numbers = Trail(), range(builtin.goals("synthetic"))
    for number in numbers:
        goal = builtin.goal("synthetic", number)
        assert isinstance(goal.options, dict)
        wanted = (goal.asin, goal.instruction, list(goal.attributes), goal.price_upper, goal.weight)
        trail.add(*wanted, list(goal.options.items()))
    trail.assert_equal(recorded_catalogue("goals"), numbers)


def test_goals_are_those_of_the_reference(official: Store, shared_dir: Path) -> None:
    assert official.goals("synthetic") == 6910
    for case in cases(shared_dir, "webshop_goals"):
        goal = official.goal("synthetic", case["index"])
        assert (goal.number, goal.asin, goal.category, goal.query) == (
            *(case["index"], case["asin"], case["category"], case["query"]),
        )
        assert (goal.name, goal.product_category) == (case["name"], case["product_category"])
        assert (goal.instruction, list(goal.attributes)) == (case["instruction_text"], case["attributes"])
        assert isinstance(goal.options, dict)
        assert list(goal.options.items()) == list(case["goal_options"].items())
        assert (goal.price_upper, goal.weight) == (case["price_upper"], case["weight"])


def test_human_goals(official: Store) -> None:
    goals = [official.goal("human", number) for number in range(official.goals("human"))]
    assert len(goals) == 13
    for goal in goals:
        product = official.product(official.number(goal.asin))  # type: ignore[arg-type]
        assert any(goal.instruction.startswith(text.strip(".")) for text, _, _ in product.human)
        assert isinstance(goal.options, tuple)
        assert goal.attributes


def test_human_goals_are_those_of_the_reference(official: Store, shared_dir: Path) -> None:
    goals = {goal.asin: goal for n in range(official.goals("human")) for goal in [official.goal("human", n)]}
    wanted = {case["goal"]["asin"]: case["goal"] for case in cases(shared_dir, "webshop_reward") if case["human_goal"]}
    assert len(wanted) == 6
    for asin, case in wanted.items():
        goal = goals[asin]
        assert (goal.category, goal.query, goal.name) == (case["category"], case["query"], case["name"])
        assert (goal.product_category, goal.instruction) == (case["product_category"], case["instruction_text"])
        assert (list(goal.attributes), list(goal.options)) == (case["attributes"], case["goal_options"])
        assert (goal.price_upper, goal.weight) == (case["price_upper"], case["weight"])


def test_limits_of_human_goals_are_drawn_by_the_original_rules(builtin: Store) -> None:
    """All price ranges first; then, goal by goal, two of the next four tens above the price, of which the higher."""
    goal, vague = (".a hat.", ("warm",), ("red", "xl")), ("a hat", (), ())
    shelf = [
        replace(builtin.product(number), prices=prices, human=human)
        for number, (prices, human) in enumerate(
            [
                ((12.0, 33.0), (vague, goal)),
                ((25.0,), (goal, vague, goal)),
                ((985.0,), (goal,)),  # one ten is left above it: no limit, and nothing is drawn
                ((975.0,), (goal,)),
                ((20.0,), (goal,)),
                ((5.0,), ()),
                ((40.0, 65.0), (goal,)),
            ]
        )
    ]
    columns, rng = draw(shelf), random.Random(42)
    for product in shelf:
        if len(product.prices) == 2:
            rng.uniform(*product.prices)
    expected = []
    for number, product in enumerate(shelf):
        for choice, (_, attributes, _) in enumerate(product.human):
            if attributes:
                above = [10.0 * n for n in range(1, 100) if 10.0 * n > columns["price"][number]][:4]
                upper = sorted(rng.sample(above, 2))[1] if len(above) >= 2 else 1_000_000.0
                expected.append((number, choice, upper, 1.0))
    assert (2, 0, NO_LIMIT, 1.0) in expected
    random.Random(233).shuffle(expected)
    drawn = [columns[f"human_{name}"].tolist() for name in ("product", "choice", "upper", "weight")]
    assert list(zip(*drawn, strict=True)) == expected
    assert make_goal("human", 0, shelf[1], 2, 50.0, 1.0).instruction == "a hat, and price lower than 50.00 dollars"
    assert make_goal("human", 0, shelf[2], 0, NO_LIMIT, 1.0).instruction == "a hat"


def test_every_combination_is_a_goal(builtin: Store) -> None:
    numbers = range(builtin.goals("synthetic"))
    goals = [builtin.goal("synthetic", number) for number in numbers]
    texts = {goal.instruction for goal in goals}
    assert len(texts) == len(goals)
    first = builtin.product(builtin.number(goals[0].asin))  # type: ignore[arg-type]
    of_first = [goal.options for goal in goals if goal.asin == first.asin]
    values = list(first.options.values())
    assert len(of_first) == len(values[0]) * len(values[1])
    assert {tuple(options) for options in of_first} == {tuple(sorted(first.options))}


def test_a_dear_product_has_no_limit(builtin: Store) -> None:
    product = builtin.product(0)
    goal = make_goal("synthetic", 0, product, 0, NO_LIMIT, 1.0)
    assert "price" not in goal.instruction
    assert ", and price lower than 30.00 dollars" in make_goal("synthetic", 0, product, 0, 30.0, 1.0).instruction


def test_without_goals_the_columns_are_empty() -> None:
    columns = draw([])
    assert {len(column) for column in columns.values()} == {0}
