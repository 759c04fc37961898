"""Which keys a recipe may have where, for messages: the schema with the parts that the recipe names."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from model_foundry.config._problems import Path
from model_foundry.config.schema import ExperimentConfig
from model_foundry.parts import Part, Settings, find_part
from model_foundry.units import Duration

_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_PLURAL = {int: "whole numbers", float: "numbers", bool: "truths", str: "texts"}


def keys_of(section: type[Settings]) -> dict[str, FieldInfo]:
    """Fields of a section by the name that a recipe uses."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def section_at(recipe: Any, path: Path) -> type[Settings] | None:
    """Return the class that describes the mapping at ``path`` of a recipe, if there is one."""
    annotation: Any = ExperimentConfig
    value = recipe
    for key in path:
        if isinstance(key, int):
            annotation = _item(annotation)
            value = value[key] if isinstance(value, list) and key < len(value) else None
        else:
            section = _section(annotation, value)
            if section is None or key not in keys_of(section):
                return None
            annotation = keys_of(section)[key].annotation
            value = value.get(key) if isinstance(value, dict) else None
    return _section(annotation, value)


def field_at(recipe: Any, path: Path) -> FieldInfo | None:
    """Return the field that ``path`` names, if there is one."""
    section = section_at(recipe, path[:-1]) if path else None
    return keys_of(section).get(str(path[-1])) if section else None


def sections(recipe: Any) -> Iterator[tuple[Path, type[Settings]]]:
    """Yield all sections that this recipe has or could have; of a list, its first item."""
    pending: list[Path] = [()]
    while pending:
        path = pending.pop(0)
        section = section_at(recipe, path)
        if section is None:
            continue
        yield path, section
        for key, field in keys_of(section).items():
            if not _holds_section(field.annotation):
                continue
            pending.append((*path, key, 0) if _item(field.annotation) is not None else (*path, key))


def described(annotation: Any) -> str:
    """Say in plain words what a type takes."""
    options = [_one(option) for option in _options(annotation)]
    return " or ".join(dict.fromkeys(option for option in options if option))


def _one(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Literal:
        return " or ".join(repr(option) for option in get_args(annotation))
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is not Ellipsis:
        items = get_args(annotation)
        return f"a list of {len(items)} {_PLURAL.get(_bare(items[0]), 'values')}"
    if get_origin(annotation) in (list, tuple):
        other = "sections" if _holds_section(annotation) else "values"
        return f"a list of {_PLURAL.get(_bare(get_args(annotation)[0]), other)}"
    if annotation is Duration:
        return "an amount of training such as 2000 updates"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a section with a 'type'" if issubclass(annotation, Part) else "a section"
    return _PLAIN.get(annotation, "")


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _options(annotation: Any) -> list[Any]:
    annotation = _bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for item in get_args(annotation) for option in _options(item)]
    return [annotation]


def _item(annotation: Any) -> Any:
    for option in _options(annotation):
        if get_origin(option) in (list, tuple):
            return get_args(option)[0]
    return None


def _holds_section(annotation: Any) -> bool:
    inner = _item(annotation)
    options = _options(annotation if inner is None else inner)
    return any(isinstance(option, type) and issubclass(option, Settings) for option in options)


def _section(annotation: Any, value: Any) -> type[Settings] | None:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, Settings):
            if not issubclass(option, Part):
                return option
            name = value.get("type") if isinstance(value, dict) else value
            try:
                return find_part(option, name) if isinstance(name, str) and name else option
            except PydanticCustomError:
                return option
    return None
