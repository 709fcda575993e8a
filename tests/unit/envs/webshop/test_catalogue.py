import json
from pathlib import Path
from typing import Any

import pytest

from himac.envs.webshop import catalogue
from himac.envs.webshop.catalogue import parse_price, read_products
from himac.errors import DataError


def record(asin: str, **more: Any) -> dict[str, Any]:
    return {
        "asin": asin,
        "name": f"Hat {asin}",
        "full_description": "Warm.",
        "small_description": ["Wool ", "Soft"],
        "category": "fashion",
        "query": " Hats ",
        "product_category": "A › B",
        "pricing": "$5",
        "customization_options": {"Color": [{"value": " Red/Blue "}], "Size": None},
        **more,
    }


def write(folder: Path, records: list[Any], known: dict[str, Any], human: dict[str, Any] | None = None) -> list[Path]:
    contents = [records, known] if human is None else [records, known, human]
    paths = [folder / f"{number}.json" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content))
    return paths


@pytest.mark.parametrize(
    ("text", "prices", "tag"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        ("$1,234.50", (1234.5,), "$1234.5"),
        ("$5.99 - $7.50", (5.99, 7.5), "$5.99 to $7.5"),
        ("$1 $2 $3", (1.0, 2.0), "$1.0 to $2.0"),
    ],
)
def test_prices(text: str | None, prices: tuple[float, ...], tag: str) -> None:
    assert parse_price(text) == (prices, tag)


def test_products_of_the_official_form(tmp_path: Path) -> None:
    goal = {"instruction": "a hat", "instruction_attributes": ["warm"], "instruction_options": ["red"]}
    known = {"H1": {"attributes": ["warm"], "instruction": "Find me hats", "instruction_attributes": ["warm"]}}
    records = [record("H1"), record("H1"), record("nan"), record("12345678901"), record("H2", small_description="x")]
    first, second = read_products(*write(tmp_path, records, known, {"H1": [goal]}))
    assert (first.title, first.query, first.bullets) == ("Hat H1", "hats", ("Wool ", "Soft"))
    assert first.options == {"color": ("red | blue",)}
    assert (first.instruction, first.human) == ("Find me hats", (("a hat", ("warm",), ("red",)),))
    assert first.search_text() == "hat h1 warm. wool  color: red | blue"
    assert (second.attributes, second.instruction, second.bullets) == (("DUMMY_ATTR",), None, ("x",))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_the_file_is_read_in_pieces(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_CHUNK", chunk)
    records = [record(f"H{number}", name='"[é], \\') for number in range(20)]
    known = {f"H{number}": {"attributes": [f'"}}, {number}']} for number in reversed(range(19))}
    products = list(read_products(*write(tmp_path, records, known)))
    assert [product.asin for product in products] == [f"H{number}" for number in range(20)]
    assert [product.attributes for product in products] == [
        *((f'"}}, {number}',) for number in range(19)),
        ("DUMMY_ATTR",),
    ]


@pytest.mark.parametrize("content", ["", "{}", "[{", '[{"asin": "A"}]', "[3]", '[{"asin": "A", "name'])
def test_a_broken_file_is_a_data_error(content: str, tmp_path: Path) -> None:
    paths = write(tmp_path, [], {})
    paths[0].write_text(content)
    with pytest.raises(DataError, match=r"0\.json"):
        list(read_products(*paths))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 3}, "3 stands where a text should"),
        ({"small_description": [None]}, "None stands where a text should"),
        ({"category": {}}, "stands where a text should"),
        ({"full_description": "\ud800"}, "surrogates not allowed"),
        ({"customization_options": {f"o{n}": [{"value": "a"}] * 20 for n in range(5)}}, "1048576 combinations"),
    ],
)
def test_a_product_of_another_form_is_a_data_error(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"product 0 of .*{words}"):
        list(read_products(*write(tmp_path, [record("H1", **change)], {})))


def test_an_entry_without_end_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_ITEM", 100)
    monkeypatch.setattr(catalogue, "_CHUNK", 50)
    paths = write(tmp_path, [record("H1")], {})
    paths[0].write_text('["' + "x" * 1000)
    with pytest.raises(DataError, match="cannot read"):
        list(read_products(*paths))
    paths[0].write_text("[" * 100_000)
    monkeypatch.setattr(catalogue, "_CHUNK", 1 << 20)
    with pytest.raises(DataError, match="cannot read"):
        list(read_products(*paths))


def test_a_price_without_a_currency_is_a_data_error(tmp_path: Path) -> None:
    paths = write(tmp_path, [record("H1", pricing="5.99")], {})
    with pytest.raises(DataError, match=r"product 0 of .*0\.json is not of the official form"):
        list(read_products(*paths))


def test_a_missing_or_wrong_attribute_file_is_a_data_error(tmp_path: Path) -> None:
    paths = write(tmp_path, [record("H1")], {})
    with pytest.raises(DataError, match="cannot read"):
        list(read_products(paths[0], tmp_path / "none.json"))
    with pytest.raises(DataError, match="no JSON object"):
        list(read_products(paths[0], paths[0]))
