"""What pydantic found wrong, in the recipe's words: where, what was found, expected and perhaps meant."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from model_foundry.config._problems import (
    MOST_TOLD,
    SECRET_ADVICE,
    Path,
    Problem,
    holds_secret,
    is_secret,
    printable,
    redacted,
    shown,
)
from model_foundry.config._sections import described, field_at, keys_of, section_at
from model_foundry.config._suggest import suggestion
from model_foundry.config._yaml import Node
from model_foundry.parts import did_you_mean

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_unicode": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a section",
    "model_type": "a section",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}
_OF_THE_FIELD = {"list_type", "tuple_type", "model_type", "missing"}
_HAS_LENGTH = re.compile(r"a list of \d")
_BARE = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LONGEST = 400


def explain(error: ValidationError, root: Node) -> list[Problem]:
    """Return one problem for each key that is wrong; a misspelt key is not missing as well."""
    recipe = root.plain()
    wrong: dict[Path, list[ErrorDetails]] = {}
    missing: dict[Path, ErrorDetails] = {}
    unknown: list[Path] = []
    short: dict[Path, list[str]] = {}
    for details in error.errors(include_url=False):
        path, node = find(root, details["loc"])
        if details["type"] == "default_factory_not_called":
            continue  # a default that follows from another section, which is told as wrong itself
        if details["type"] == "extra_forbidden":
            unknown.append(path)
        elif details["type"] == "missing" and isinstance(node.value, str):
            short.setdefault(path, []).append(str(details["loc"][-1]))  # a bare name for a section
        elif details["type"] in ("missing", "missing_type") and isinstance(node.value, dict):
            key = str(details["loc"][-1])
            missing[(*path, key)] = details
            unknown += [
                (*path, other) for other in node.value if key == "type" and did_you_mean(other, ["type"])
            ]
        else:
            wrong.setdefault(path, []).append(details)
    problems, meant = _unknown_keys(unknown, root, recipe)
    for path, details in missing.items():
        if path not in meant:
            place = find(root, path[:-1])[1].key_place
            problems.append(Problem(place, path, f"is missing; expected {_expected(details, path, recipe)}"))
    for path, keys in short.items():
        node = find(root, path)[1]
        named = ", ".join(f"{key}: ..." for key in keys)
        needed = f"{{type: {printable(node.value)}, {named}}}"
        text = f"found {shown(node.value)} alone, expected what it needs: {needed}"
        problems.append(Problem(node.place, path, text))
    for path, found in wrong.items():
        node = find(root, path)[1]
        place = node.key_place if isinstance(node.value, dict) else node.place
        problems.append(Problem(place, path, _wrong(node, path, found, recipe)))
    return problems


def find(root: Node, location: tuple[int | str, ...]) -> tuple[Path, Node]:
    """Return the deepest node on the way to ``location`` with its path; union members do not count."""
    path: Path = ()
    node = root
    for key in location:
        inside = isinstance(node.value, dict) and key in node.value
        if inside or (isinstance(node.value, list) and isinstance(key, int) and key < len(node.value)):
            path, node = (*path, key), node.value[key]
    return path, node


def secrets(root: Node, path: Path = ()) -> list[Problem]:
    """Return a problem for each value that looks like an access token or holds a password, at any key."""
    if isinstance(root.value, dict | list):
        items = root.value.items() if isinstance(root.value, dict) else enumerate(root.value)
        return [problem for key, node in items for problem in secrets(node, (*path, key))]
    return [Problem(root.place, path, SECRET_ADVICE)] if holds_secret(root.value) else []


def _unknown_keys(paths: list[Path], root: Node, recipe: Any) -> tuple[list[Problem], set[Path]]:
    problems, meant = [], set[Path]()
    for path in paths:
        key, node = str(path[-1]), find(root, path)[1]
        if is_secret(key, node.value):
            problems.append(Problem(node.key_place, path, f"unknown key, and it {SECRET_ADVICE}"))
            continue
        nearest = suggestion(key, path[:-1], recipe) if len(problems) < MOST_TOLD else None
        section = section_at(recipe, path[:-1])
        if nearest is None:
            hint = f" Known here: {', '.join(keys_of(section))}." if section else ""
            hint = " YAML's merge is not read; use extends to share." if key == "<<" else hint
            hint = _unseen(key) + hint
        else:
            meant |= {(*path[:-1], nearest), tuple(nearest.split("."))}
            above = (
                section and path[:-1] and "." not in nearest and nearest not in {*keys_of(section), "type"}
            )
            hint = f" Did you mean '{nearest}'{' at the top level' if above else ''}?"
        problems.append(Problem(node.key_place, path, f"unknown key.{hint}"))
    return problems, meant


def _unseen(key: str) -> str:
    """Name the first sign of a key that looks like a space, or like nothing."""
    signs = [sign for sign in key if sign != " " and (sign.isspace() or not sign.isprintable())]
    return f" It holds U+{ord(signs[0]):04X}, which cannot be seen." if signs else ""


def _wrong(node: Node, path: Path, found: list[ErrorDetails], recipe: Any) -> str:
    wanted = list(dict.fromkeys(_expected(details, path, recipe) for details in found))
    expected = [text for text in wanted if text]
    if not expected:
        said = "; ".join(dict.fromkeys(_said(details) for details in found))
        return said if len(said) <= _LONGEST else said[: _LONGEST - 3] + "..."
    options = re.findall("'([^']*)'", " ".join(expected))
    hint = did_you_mean(node.value, options) if isinstance(node.value, str) else ""
    if isinstance(node.value, str) and expected[0].startswith("a list of"):
        hint = f" Write [{node.value}]" if _BARE.fullmatch(node.value) else hint
        hint = " Is a space missing behind the '-'?" if node.value.startswith("-") else hint
    return f"found {shown(node.value)}, expected {' or '.join(expected)}" + (f".{hint}" if hint else "")


def _expected(details: ErrorDetails, path: Path, recipe: Any) -> str:
    """What would have been right, or nothing where the message says it all."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing_type":
        return f"one of {context['known']}"
    field = field_at(recipe, path)
    words = described(field.annotation) if field else ""
    if words and (kind in _OF_THE_FIELD or (kind in ("too_short", "too_long") and _HAS_LENGTH.match(words))):
        return words
    if kind in _EXPECTED:
        plain = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
        plain["expected"] = str(plain.get("expected")).replace("False", "false")  # as YAML spells it
        return _EXPECTED[kind].format(**plain).replace(" 1 characters", " 1 character")
    said = _said(details)
    return said.removeprefix("expected ") if said.startswith("expected ") else ""


def _said(details: ErrorDetails) -> str:
    cause = details.get("ctx", {}).get("error")
    return redacted(str(cause) if isinstance(cause, Exception) else details["msg"])
