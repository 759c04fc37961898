"""``model-foundry recipe show``, ``diff`` and ``schema``: what a recipe says, and what it may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._completion import recipe_names

if TYPE_CHECKING:
    from model_foundry.config.load import LoadedRecipe

_RESOLVED = "recipe.resolved.yaml"
_NOT_SET = "-"


def add_to(group: typer.Typer) -> None:
    """Give the group its verbs."""
    group.command("show")(_show)
    group.command("diff")(_diff)
    group.command("schema")(_schema)


def _show(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name, or a file.", autocompletion=recipe_names)
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Values that replace the recipe's.")
    ] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="What it extends and all defaults filled in.")
    ] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="With --resolved: its small size.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved recipe as JSON.")] = False,
    allow_custom_code: Annotated[
        bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
    ] = False,
) -> None:
    """Print a recipe as it is written, comments and all, or as it is resolved.

    Example: model-foundry recipe show demo

    Example: model-foundry recipe show demo training.duration="50 updates" --resolved
    """
    from model_foundry.config.edit import edited_text
    from model_foundry.config.load import load_recipe_with_sources

    loaded = load_recipe_with_sources(
        recipe, overrides or [], allow_custom_code=allow_custom_code, smoke=smoke
    )
    if as_json:
        typer.echo(json.dumps(loaded.config.resolved(), ensure_ascii=False))
    else:
        typer.echo(loaded.resolved_text if resolved or smoke else edited_text(loaded), nl=False)


def _diff(
    one: Annotated[
        str,
        typer.Argument(metavar="A", help="A recipe, or the folder of a run.", autocompletion=recipe_names),
    ],
    other: Annotated[str, typer.Argument(metavar="B", help="Another one.", autocompletion=recipe_names)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    allow_custom_code: Annotated[
        bool, typer.Option("--allow-custom-code", help="Let the recipes import your own modules.")
    ] = False,
) -> None:
    """Show the values that differ between two recipes or runs, defaults filled in, and nothing else.

    Example: model-foundry recipe diff demo my.yaml

    Example: model-foundry recipe diff runs/demo runs/demo-2 --json
    """
    from model_foundry.config.compare import leaves

    sides = [_loaded(name, allow_custom_code).config.resolved() for name in (one, other)]
    first, second = (dict(leaves(side)) for side in sides)
    rows = [
        {"key": key, "a": first.get(key), "b": second.get(key)}
        for key in dict.fromkeys([*first, *second])
        if first.get(key, _NOT_SET) != second.get(key, _NOT_SET)
    ]
    if as_json:
        typer.echo(json.dumps({"a": one, "b": other, "differs": rows}, ensure_ascii=False))
    elif not rows:
        typer.echo(f"no difference in {len(first)} values")
    else:
        shown = [(key, _cell(first, key), _cell(second, key)) for key in (str(row["key"]) for row in rows)]
        typer.echo("\n".join(_columns([("", one, other), *shown])))


def _loaded(name: str, allow_custom_code: bool) -> LoadedRecipe:
    from model_foundry.config.load import load_recipe_with_sources

    of_a_run = Path(name) / _RESOLVED
    return load_recipe_with_sources(
        str(of_a_run) if of_a_run.is_file() else name, allow_custom_code=allow_custom_code
    )


def _cell(values: dict[str, Any], key: str) -> str:
    from model_foundry.config.load import inline

    return inline(values[key]) if key in values else _NOT_SET


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{key:<{widths[0]}}  {a:<{widths[1]}}  {b}".rstrip() for key, a, b in rows]


def _schema(
    as_json: Annotated[bool, typer.Option("--json", help="Print it on a single line.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors and other programs.

    Example: model-foundry recipe schema > recipe.schema.json
    """
    from model_foundry.config.json_schema import recipe_schema

    typer.echo(json.dumps(recipe_schema(), ensure_ascii=False, indent=None if as_json else 1))
