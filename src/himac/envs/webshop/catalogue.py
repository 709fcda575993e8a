"""Products as the shop shows them, read from the official WebShop files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeVar

from himac.errors import DataError
from himac.files import encodable, parse_json, read_json

NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""Attributes of a product that the attribute file does not describe."""

_NOT_IN_A_PRICE = re.compile(r"[^\d.]")
_CHUNK = 1 << 20
_ITEM = 1 << 26
"""Characters of an entry; the largest of the 1000 products has 17,399."""
_COMBINATIONS = 1 << 20
"""Of a product's options, each of them a goal; the most of the 1000 products are 558."""
_BLANKS = re.compile(r"[\s,]*")
_COLON = re.compile(r"\s*:\s*")
_DECODER = json.JSONDecoder()
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Product:
    """One article of the shop.

    Attributes:
        asin: Its number, ten characters in the official data.
        query: The search that found it when the data was collected; its fine category.
        category: Its department.
        product_category: Its path in the category tree, parts separated by ` › `.
        prices: One price, or the ends of a range.
        price_tag: The price as shown.
        options: Values to choose from, by lower-case name.
        attributes: What the reward compares.
        instruction, instruction_attributes: A synthetic goal for this product, before options and price.
        human: Goals that people wrote for it: instruction, attributes, options.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    query: str
    category: str
    product_category: str
    prices: tuple[float, ...]
    price_tag: str
    options: dict[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()
    human: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()

    def search_text(self) -> str:
        """What the search engine indexes of the product."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first = self.bullets[0] if self.bullets else ""
        return " ".join([self.title, self.description, first, options]).lower()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Product:
        """The product whose `json.dumps(dataclasses.asdict(...))` was read back."""
        return cls(
            **{
                **fields,
                "bullets": tuple(fields["bullets"]),
                "prices": tuple(fields["prices"]),
                "options": {name: tuple(values) for name, values in fields["options"].items()},
                "attributes": tuple(fields["attributes"]),
                "instruction_attributes": tuple(fields["instruction_attributes"]),
                "human": tuple((text, tuple(wanted), tuple(options)) for text, wanted, options in fields["human"]),
            }
        )


def read_products(products: Path, attributes: Path, human: Path | None = None) -> Iterator[Product]:
    """The products of an official file in its order, without repeats; the product file is read piece by piece.

    Of the attribute file the texts of the entries are kept, each until its product comes.

    Args:
        products: `items_shuffle.json` or `items_shuffle_1000.json`.
        attributes: `items_ins_v2.json` or `items_ins_v2_1000.json`.
        human: `items_human_ins.json`.

    Raises:
        DataError: a file is missing or is not of the official form.
    """
    known = dict(_read_items(attributes, "object", _entry))
    by_people = _read_object(human) if human else {}
    seen = set()
    for number, record in enumerate(_read_items(products, "array", _DECODER.raw_decode)):
        try:
            asin = record["asin"]
            # The official loader skips these.
            if asin == "nan" or len(asin) > 10 or asin in seen:
                continue
            seen.add(asin)
            yield parse_product(record, parse_json(known.pop(asin, "{}")), by_people.get(asin, []))
        except (AttributeError, LookupError, TypeError, ValueError, InvalidOperation) as error:
            raise DataError(
                f"product {number} of {products} is not of the official form ({error!r}); use the unchanged file."
            ) from error


def parse_product(record: Mapping[str, Any], known: Mapping[str, Any], human: Sequence[Mapping[str, Any]]) -> Product:
    """One product from its record, its entry in the attribute file and its human goals."""
    prices, tag = parse_price(record.get("pricing"))
    bullets = record["small_description"]
    bullets = bullets if isinstance(bullets, list) else [bullets]
    options = {
        name.lower(): tuple(value["value"].strip().replace("/", " | ").lower() for value in values)
        for name, values in (record["customization_options"] or {}).items()
        if values is not None
    }
    if math.prod(map(len, options.values())) > _COMBINATIONS:
        raise ValueError(f"its options have more than {_COMBINATIONS} combinations")
    instruction = known.get("instruction")
    return Product(
        asin=_text(record["asin"]),
        title=_text(record["name"]),
        description=_text(record["full_description"]),
        bullets=_texts(bullets),
        query=_text(record["query"]).lower().strip(),
        category=_text(record["category"]),
        product_category=_text(record["product_category"]),
        prices=prices,
        price_tag=tag,
        options={_text(name): _texts(values) for name, values in options.items()},
        attributes=_texts(known.get("attributes", NO_ATTRIBUTES)),
        instruction=None if instruction is None else _text(instruction),
        instruction_attributes=_texts(known.get("instruction_attributes") or ()),
        human=tuple(
            (_text(goal["instruction"]), _texts(goal["instruction_attributes"]), _texts(goal["instruction_options"]))
            for goal in human
        ),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} stands where a text should")
    text: str = encodable(value)
    return text


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r:.40} stands where a list should")
    return tuple(map(_text, values))


def parse_price(text: str | None) -> tuple[tuple[float, ...], str]:
    """Prices and price tag of an official price text ("$5.99", "$5.99 - $7.50"); nothing means 100 dollars."""
    if not text:
        return (100.0,), "$100.0"
    prices = tuple(float(Decimal(_NOT_IN_A_PRICE.sub("", part))) for part in text.split("$")[1:])[:2]
    return prices, f"${prices[0]}" if len(prices) == 1 else f"${prices[0]} to ${prices[1]}"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}); get the official WebShop files.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object; get the official WebShop files.")
    return content


def _entry(text: str, at: int) -> tuple[tuple[str, str], int]:
    """Name and text of an object's entry, and where it ends; `ValueError` where it is incomplete."""
    name, end = _DECODER.raw_decode(text, at)
    colon = _COLON.match(text, end)
    if not isinstance(name, str) or not colon:
        raise ValueError(f"no name with a colon at {at}")
    end = _DECODER.raw_decode(text, colon.end())[1]
    return (name, text[colon.end() : end]), end


def _read_items(
    path: Path, form: Literal["array", "object"], read: Callable[[str, int], tuple[_Item, int]]
) -> Iterator[_Item]:
    """The items of a JSON array or object, with one of them and a piece of the file in memory at a time."""
    opening, closing = "[]" if form == "array" else "{}"
    try:
        if not path.is_file():
            raise OSError("it is no regular file")
        with path.open(encoding="utf-8") as file:
            text, at = file.read(_CHUNK).lstrip(), 1
            if not text.startswith(opening):
                raise DataError(f"{path} is no JSON {form}; get the official WebShop files.")
            while True:
                at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
                if text.startswith(closing, at):
                    return
                try:
                    item, at = read(text, at)
                except ValueError:
                    if len(text) - at > _ITEM:
                        raise
                    more = file.read(max(_CHUNK, len(text) - at))
                    if not more:
                        raise
                    text, at = text[at:] + more, 0
                    continue
                yield item
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path} ({error}); get the official WebShop files.") from error
