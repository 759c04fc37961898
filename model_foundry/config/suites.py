"""Evaluators in a file of their own: the section ``evaluation`` of a recipe, and nothing else."""

from __future__ import annotations

from pydantic import Field, ValidationError

from model_foundry.config import _problems as problems
from model_foundry.config._explain import explain
from model_foundry.config._files import RecipeReader, Unreadable, find_recipe, read_text
from model_foundry.config._problems import recipe_error
from model_foundry.config._yaml import COMMAND_LINE, Place
from model_foundry.evaluation import Evaluator
from model_foundry.parts import PartOf, Settings, custom_code

_HERE = Place(COMMAND_LINE)


class _Suites(Settings):
    """What such a file holds."""

    evaluation: list[PartOf[Evaluator]] = Field(min_length=1)
    """The suites, in order."""


def load_evaluators(path: str, *, allow_custom_code: bool = False) -> list[Evaluator]:
    """Return the evaluators that a file holds under ``evaluation``.

    Raises:
        RecipeError: When anything is wrong with it, naming all problems with their places.
    """
    try:
        found = find_recipe(path, "", _HERE)
        root = RecipeReader().read(found, read_text(found, _HERE))
    except Unreadable as error:
        raise recipe_error(problems.printable(path), [error.problem]) from None
    try:
        with custom_code(allow_custom_code):
            return list(_Suites.model_validate(root.plain()).evaluation)
    except ValidationError as error:
        raise recipe_error(found, explain(error, root)) from None
