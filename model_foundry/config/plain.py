"""YAML files beside recipes, as plain values, under the same rules: no tags, no key twice, YAML 1.2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_foundry.config._yaml import YamlProblem, decode, parse
from model_foundry.errors import RecipeError


def read_mapping(path: Path, what: str, example: str) -> dict[str, Any]:
    """Return what the file says.

    Args:
        path: The file.
        what: What it is, in a message.
        example: A line of such a file.

    Raises:
        RecipeError: When it cannot be read, or is no mapping, naming the line.
    """
    try:
        value = parse(decode(path.read_bytes(), str(path)), str(path)).plain()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read as {what}: {error.strerror}.") from error
    except YamlProblem as problem:
        raise RecipeError(f"{problem.place}: cannot be read as {what}: {problem.text}.") from problem
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: {what} is a mapping such as '{example}'.")
    return value
