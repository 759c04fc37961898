"""What stands beneath each field in the source; the reference and the schema for editors are made of it."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from functools import cache

from pydantic import BaseModel


def owner(model: type[BaseModel], key: str) -> type[BaseModel]:
    """Return the class whose body holds the field."""
    return next(base for base in model.__mro__ if key in inspect.get_annotations(base))


@cache
def field_texts(model: type[BaseModel]) -> dict[str, tuple[ast.expr, str]]:
    """Return annotation and text of every field that stands in the class's own body."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, tuple[ast.expr, str]] = {}
    for statement, after in itertools.pairwise([*definition.body, None]):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = str(after.value.value)
            found[statement.target.id] = (statement.annotation, text)
    return found
