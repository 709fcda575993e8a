from dataclasses import replace

import pytest

from himac.envs.webshop.catalogue import Product
from himac.envs.webshop.pages import done_page, item_page, results_page, sub_page, to_json
from himac.envs.webshop.view import compact

PRODUCT = Product(
    asin="A1",
    title="Red Hat, " + "very " * 20,
    description="A hat.",
    bullets=(" warm", "", "\n"),
    query="hats",
    category="fashion",
    product_category="A › B",
    prices=(5.0,),
    price_tag="$5.0",
    options={"color": ("red", "blue"), "size": ("s", "red", "")},
    attributes=("warm",),
)


def test_of_two_equal_values_the_last_counts() -> None:
    page = item_page("url", "Buy.", PRODUCT)
    assert page.options == {"red": "size", "blue": "color", "s": "size", "": "size"}
    assert page.clickables() == [
        *("back to search", "< prev", "description", "features", "reviews", "buy now", "red", "blue", "s", "")
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Description", "A hat."),
        ("Features", "warm [SEP] "),
        ("Reviews", None),
        ("Attributes", "warm [SEP] fashion [SEP] hats [SEP] A › B"),
    ],
)
def test_sub_pages(name: str, text: str | None) -> None:
    """A blank text is shown as an empty one, a line end not at all."""
    head = "Instruction: [SEP] Buy. [SEP] Back to Search [SEP] < Prev"
    assert sub_page("url", "Buy.", PRODUCT, name).text("text") == head + ("" if text is None else f" [SEP] {text}")


def test_options_in_json() -> None:
    assert to_json({"size": "<é>", "color": "&'"}) == ('{"color": "\\u0026\\u0027", "size": "\\u003c\\u00e9\\u003e"}')
    assert '{"color": "red"} [SEP] attrs' in done_page("url", "A1", {"color": "red"}, 0.5).text("text")


def test_the_short_view() -> None:
    cut = "Red Hat, " + " ".join(["very"] * 10)
    assert compact(item_page("url", "Buy.", PRODUCT), {"color": "blue"}, None) == (
        f"{cut} $5.0\nsize: red | s | \ncolor: blue*"
    )
    untitled = replace(PRODUCT, title="", options={})
    assert compact(item_page("url", "Buy.", untitled), {}, None) == " $5.0"
    page = results_page("url", "Buy.", [PRODUCT, untitled], 2, 12, ())
    assert compact(page, {}, None) == f"page 2\n1 $5.0 {cut}\n2 $5.0 "
    assert compact(results_page("url", "Buy.", [], 1, 0, ()), {}, None) == "page 1"
    assert compact(sub_page("url", "Buy.", PRODUCT, "Reviews"), {}, None) == "nothing"
    assert compact(sub_page("url", "Buy.", PRODUCT, "Description"), {}, None) == "A hat."
