from pathlib import Path

from himac.envs.webshop.goals import NO_LIMIT, draw, make_goal
from himac.envs.webshop.store import Store
from support.golden import cases


def test_prices_are_those_of_the_reference(official: Store, shared_dir: Path) -> None:
    expected = [(case["asin"], case["price"]) for case in cases(shared_dir, "webshop_prices")]
    assert [(official.product(n).asin, official.price(n)) for n in range(len(official))] == expected


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
