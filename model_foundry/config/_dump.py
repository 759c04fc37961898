"""Plain values to YAML that reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from model_foundry.config._yaml import scalar

_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./% -]*[A-Za-z0-9_./%])?")
_ESCAPED = re.compile(
    r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]"
)  # what YAML reads as a line break, or refuses


def dump_recipe(values: Mapping[str, Any]) -> str:
    """Return YAML that ``load_recipe`` reads as the same values: mappings, lists and scalars."""
    return "".join(f"{line}\n" for line in _mapping(values, ""))


def _mapping(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _mapping(value, indent + "  ")
        elif isinstance(value, list | tuple) and any(
            isinstance(item, Mapping | list | tuple) for item in value
        ):
            yield f"{indent}{_scalar(key)}:"
            for item in value:
                yield from _item(item, indent)
        else:
            yield f"{indent}{_scalar(key)}: {inline(value)}"


def _item(value: Any, indent: str) -> Iterator[str]:
    if not isinstance(value, Mapping) or not value:
        yield f"{indent}- {inline(value)}"
        return
    first, *rest = _mapping(value, indent + "  ")
    yield f"{indent}- {first.lstrip()}"
    yield from rest


def inline(value: Any) -> str:
    """Return a value on one line, as it may stand behind a key."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        assert value is None or isinstance(value, bool | int | float), f"no YAML for a {type(value).__name__}"
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and scalar(value) == value:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)
