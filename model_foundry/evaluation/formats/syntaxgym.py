"""SyntaxGym's suites: conditions of regions, and predictions as formulas over the surprisals of regions.

Gauthier et al. 2020, https://aclanthology.org/2020.acl-demos.10 (the project's documentation, "Test suite
JSON representation"). An item is right where all predictions hold. Regions are joined by single spaces, and
empty ones have a surprisal of 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_foundry.errors import DataError
from model_foundry.evaluation.formats import Item, Span, Text
from model_foundry.evaluation.formats.formula import Formula, parse


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the items of a suite.

    Raises:
        DataError: When the file is malformed, or a formula names what an item does not have.
    """
    try:
        suite = json.loads(path.read_bytes().decode("utf-8"))
        if suite.get("meta", {}).get("metric", "sum") != "sum":
            raise DataError(f"{path}: its metric is {suite['meta']['metric']!r}, expected 'sum'.")
        name = str(suite.get("meta", {}).get("name") or path.stem)
        formulas = tuple(parse(one["formula"], str(path)) for one in suite["predictions"])
        for item in suite["items"]:
            number = int(item["item_number"])
            yield _item(f"{path}: item {number}", number, name, item["conditions"], formulas)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}). Convert the file to UTF-8.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a suite of SyntaxGym ({type(error).__name__}: {error}). Expected meta, "
            "predictions with a formula each, and items with item_number and conditions."
        ) from error


def _item(
    where: str, number: int, name: str, conditions: list[dict[str, Any]], formulas: tuple[Formula, ...]
) -> Item:
    texts, regions = [], None
    for condition in conditions:
        numbers = tuple(int(region["region_number"]) for region in condition["regions"])
        if regions is not None and numbers != regions:
            raise DataError(f"{where}: its conditions have different regions, expected the same in all.")
        regions = numbers
        texts.append(_joined([str(region["content"]) for region in condition["regions"]]))
    names = tuple(str(condition["condition_name"]) for condition in conditions)
    for formula in formulas:
        for named, region in formula.references:
            if named not in names or (region != "*" and int(region) not in (regions or ())):
                raise DataError(
                    f"{where}: the formula {formula.text!r} names region {region} of {named!r}, "
                    f"which the item does not have. It has the conditions {', '.join(names)}."
                )
    return Item(where, str(number), name, tuple(texts), {}, formulas, names, regions or ())


def _joined(contents: list[str]) -> Text:
    text = ""
    spans: list[Span] = []
    for content in contents:
        start = len(text)
        if content and text:
            text += " "
        text += content
        spans.append((start, len(text)))
    return Text(text, tuple(spans))
