"""A recipe, with what it extends and what the command line changes, becomes an ``ExperimentConfig``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from model_foundry.config import _problems as problems
from model_foundry.config._dump import dump_recipe, inline
from model_foundry.config._explain import explain, find, secrets
from model_foundry.config._files import RecipeReader, Unreadable, built_in_recipes, find_recipe, read_text
from model_foundry.config._merge import apply_overrides, merge
from model_foundry.config._problems import Finding, Problem, recipe_error
from model_foundry.config._sections import keys_of
from model_foundry.config._yaml import COMMAND_LINE, Node, Place
from model_foundry.config.check import check_rules, not_yet
from model_foundry.config.schema import ExperimentConfig
from model_foundry.parts import custom_code

__all__ = [
    "LoadedRecipe",
    "built_in_recipes",
    "dump_recipe",
    "inline",
    "load_recipe",
    "load_recipe_with_sources",
]

_HERE = Place(COMMAND_LINE)
_SMOKE = "smoke"


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with what it came from, for the run folder to keep."""

    config: ExperimentConfig

    path: Path
    """The file that was read; paths in the recipe are relative to its folder."""

    text: str
    """The file as it was; what it extends is in ``config``."""

    overrides: tuple[str, ...]

    has_smoke: bool = False
    """Whether it has a section for its small size."""

    @property
    def resolved_text(self) -> str:
        """The whole recipe as YAML, defaults filled in."""
        return dump_recipe(self.config.resolved())


def load_recipe(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    allow_custom_code: bool = False,
    smoke: bool = False,
) -> ExperimentConfig:
    """Return the recipe at ``path``, or the built-in one of that name, with overrides such as ``a.b=c``.

    Args:
        path: The recipe.
        overrides: Values that replace the recipe's.
        allow_custom_code: Whether a dotted ``type`` may import a module of the user's.
        smoke: Lay the recipe's own ``smoke`` section over it: the same run at a size that any machine trains.

    Raises:
        RecipeError: When anything is wrong with it, naming all problems with their places.
    """
    return load_recipe_with_sources(path, overrides, allow_custom_code=allow_custom_code, smoke=smoke).config


def load_recipe_with_sources(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    allow_custom_code: bool = False,
    smoke: bool = False,
) -> LoadedRecipe:
    """Return the recipe with the text and overrides that it was made from; see ``load_recipe``."""
    name = os.fspath(path)
    try:
        found = find_recipe(name, "", _HERE)
        text = read_text(found, _HERE)
        whole = RecipeReader().read(found, text)
        root = _sized(whole, smoke=smoke)
    except Unreadable as error:
        raise recipe_error(problems.printable(name), [error.problem]) from None
    root, complaints = apply_overrides(root, list(overrides))
    with custom_code(allow_custom_code):
        config, more = _check(root)
    if config is None or complaints:
        raise recipe_error(found, [*complaints, *more])
    return LoadedRecipe(config, Path(found), text, tuple(overrides), has_smoke=_SMOKE in whole.value)


def _sized(root: Node, *, smoke: bool) -> Node:
    """Take the ``smoke`` section out of a recipe and lay it over the rest where that is asked for.

    Raises:
        Unreadable: When it is asked for and not there, or is no section.
    """
    small = root.value.get(_SMOKE)
    full = Node({key: node for key, node in root.value.items() if key != _SMOKE}, root.place, root.key_place)
    if small is not None and not isinstance(small.value, dict):
        raise Unreadable(Problem(small.place, (_SMOKE,), "expected sections of a recipe, at a small size"))
    if not smoke:
        return full
    if small is None:
        text = "--smoke: the recipe has no section 'smoke' with the values of a small trial"
        raise Unreadable(Problem(_HERE, (), text))
    name = full.value.get("name")
    if name is not None and isinstance(name.value, str):  # its run shall not stand in the full one's folder
        named = Node({"name": Node(f"{name.value}-{_SMOKE}", name.place, name.key_place)}, _HERE, _HERE)
        full = merge(full, named)
    return merge(full, small)


def _check(root: Node) -> tuple[ExperimentConfig | None, list[Problem]]:
    """Return the recipe, or else its problems, rules across fields included as far as they can be told."""
    refused = [_placed(finding, root) for finding in not_yet(root.plain())]
    config, wrong = _validate(root)
    told = [problem.path for problem in (*refused, *wrong)]
    rules = check_rules(config) if config else _rules_of_the_rest(_without(root, told))
    broken = [_placed(rule, root) for rule in rules if not _overlap((rule.path, *rule.read), told)]
    hidden = [problem.path for problem in refused]
    found = [*refused, *broken, *(item for item in (*wrong, *secrets(root)) if not _below(item.path, hidden))]
    return (None if found else config), _first_of_each(found)


def _validate(root: Node) -> tuple[ExperimentConfig | None, list[Problem]]:
    try:
        return ExperimentConfig.model_validate(root.plain()), []
    except ValidationError as error:
        return None, explain(error, root)


def _rules_of_the_rest(root: Node) -> list[Finding]:
    """Judge the rules by the sections that hold once the wrong entries are taken out."""
    values, right = {}, set()
    for key, field in keys_of(ExperimentConfig).items():
        try:
            if key in root.value:
                # Annotated demands at least one more argument; pydantic passes over a name.
                accepted: Any = Annotated[field.annotation, key, *field.metadata]
                values[key] = TypeAdapter(accepted).validate_python(root.value[key].plain())
            elif field.is_required():
                continue
        except ValidationError:
            continue
        right.add(key)
    return check_rules(ExperimentConfig.model_construct(**values), right)


def _placed(finding: Finding, root: Node) -> Problem:
    path, node = find(root, finding.path)
    if not path and finding.read:  # a default, found wanting beside what is written
        _, beside = find(root, finding.read[0])
        return Problem(beside.key_place, finding.path, finding.text)
    return Problem(node.place if path == finding.path else node.key_place, finding.path, finding.text)


def _without(root: Node, paths: Iterable[problems.Path]) -> Node:
    wrong = set(paths)

    def keep(node: Node, path: problems.Path) -> Node:
        if isinstance(node.value, dict):
            kept = {
                key: keep(item, (*path, key)) for key, item in node.value.items() if (*path, key) not in wrong
            }
            return Node(kept, node.place, node.key_place)
        if isinstance(node.value, list):
            items = [keep(item, (*path, i)) for i, item in enumerate(node.value) if (*path, i) not in wrong]
            return Node(items, node.place, node.key_place)
        return node

    return keep(root, ())


def _below(path: problems.Path, tops: Iterable[problems.Path]) -> bool:
    return any(path[: len(top)] == top for top in tops)


def _overlap(paths: Iterable[problems.Path], told: list[problems.Path]) -> bool:
    return any(_below(path, told) or _below(other, [path]) for path in paths for other in told)


def _first_of_each(found: list[Problem]) -> list[Problem]:
    first: dict[problems.Path, Problem] = {}
    for problem in found:
        first.setdefault(problem.path, problem)
    return list(first.values())
