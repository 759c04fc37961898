"""YAML files beside recipes, under the same rules: no tags, no key twice, YAML 1.2, all problems at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from model_foundry.config._explain import find, secrets
from model_foundry.config._problems import Problem, recipe_error, shown
from model_foundry.config._yaml import Node, YamlProblem, decode, parse
from model_foundry.errors import RecipeError
from model_foundry.parts import did_you_mean

AnySettings = TypeVar("AnySettings", bound=BaseModel)


def read_mapping(path: Path, what: str, example: str) -> dict[str, Any]:
    """Return what the file says.

    Args:
        path: The file.
        what: What it is, in a message.
        example: A line of such a file.

    Raises:
        RecipeError: When it cannot be read, or is no mapping, naming the line.
    """
    values: dict[str, Any] = _read(path, what, example).plain()
    return values


def read_settings(path: Path, settings: type[AnySettings], what: str, example: str) -> AnySettings:
    """Return what the file says, checked.

    Args:
        path: The file.
        settings: What may stand in it.
        what: What it is, in a message.
        example: A line of such a file.

    Raises:
        RecipeError: When it cannot be read, naming the line; or when keys or values are wrong, naming all.
    """
    root = _read(path, what, example)
    problems = secrets(root)
    try:
        read = settings.model_validate(root.plain())
    except ValidationError as error:
        raise recipe_error(str(path), [*problems, *_problems(error, root, settings)]) from None
    if problems:
        raise recipe_error(str(path), problems)
    return read


def _problems(error: ValidationError, root: Node, settings: type[BaseModel]) -> list[Problem]:
    found = []
    for details in error.errors(include_url=False):
        location = tuple(part for part in details["loc"] if part != "[key]")
        where, node = find(root, location)
        if details["type"] == "extra_forbidden":
            known = _keys(settings, where[:-1])
            hint = did_you_mean(str(where[-1]), known) or f" Known here: {', '.join(known)}."
            text = f"unknown key.{hint}"
            found.append(Problem(node.key_place, where, text))
        elif details["type"] == "missing":
            found.append(Problem(node.key_place, (*where, str(location[-1])), "is missing"))
        else:
            told = details["msg"].removeprefix("expected ").removeprefix("Input should be ")
            text = f"found {shown(node.plain())}, expected {told}"
            found.append(Problem(node.place, where, text))
    return found


def _keys(settings: type[BaseModel], where: tuple[str | int, ...]) -> list[str]:
    """Return the keys of the section at ``where``."""
    for key in where:
        inner = settings.model_fields[str(key)].annotation
        options = [inner, *getattr(inner, "__args__", ())]
        settings = next(one for one in options if isinstance(one, type) and issubclass(one, BaseModel))
    return list(settings.model_fields)


def _read(path: Path, what: str, example: str) -> Node:
    try:
        root = parse(decode(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read as {what}: {error.strerror}.") from error
    except YamlProblem as problem:
        raise RecipeError(f"{problem.place}: cannot be read as {what}: {problem.text}.") from problem
    if not isinstance(root.value, dict):
        raise RecipeError(f"{path}: {what} is a mapping such as '{example}'.")
    return root
