"""``model-foundry recipe``: those that ship and one's own; ``list`` is here, the rest in its neighbours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from model_foundry.cli import _recipe_reading, _recipe_writing
from model_foundry.cli._panels import START

if TYPE_CHECKING:
    from model_foundry.model.counting.preset_table import PresetRow

_COLUMNS = ("preset", "type", "parameters", "active", "vocabulary", "context", "initialization")


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verbs."""
    group = typer.Typer(no_args_is_help=True, help="Recipes: those that ship, yours, and what they may say.")
    group.command("list")(_list)
    _recipe_reading.add_to(group)
    _recipe_writing.add_to(group)
    app.add_typer(group, name="recipe", rich_help_panel=START)


def _list(
    presets: Annotated[
        bool, typer.Option("--presets", help="List the published models that `preset:` may name instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the recipes that ship, or every preset with its number of parameters.

    Example: model-foundry recipe list --presets
    """
    if presets:
        from model_foundry.model.counting.preset_table import preset_table

        rows = preset_table()
        typer.echo(json.dumps({"presets": rows}, ensure_ascii=False) if as_json else _table(rows))
        return
    recipes = _recipes()
    if as_json:
        typer.echo(json.dumps({"recipes": recipes}, ensure_ascii=False))
        return
    width = max(len(recipe["recipe"]) for recipe in recipes)
    typer.echo("\n".join(f"{recipe['recipe']:<{width}}  {recipe['description']}" for recipe in recipes))


def _recipes() -> list[dict[str, str]]:
    from model_foundry.config.load import built_in_recipes, load_recipe_with_sources

    found = []
    for name in built_in_recipes():
        recipe = load_recipe_with_sources(name)
        model = recipe.config.model
        found.append(
            {
                "recipe": name,
                "description": _first_sentence(recipe.text),
                "model": model.preset or model.part_name(),
            }
        )
    return found


def _first_sentence(recipe: str) -> str:
    """Return the first sentence of the comment that a recipe begins with."""
    lines = recipe.splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.lstrip("# ") for line in lines[:end])
    return comment.partition(". ")[0].rstrip(".")


def _table(rows: list[PresetRow]) -> str:
    lines = [
        _COLUMNS,
        *(
            (
                row["preset"],
                row["type"],
                f"{row['parameters']:,}",
                "" if row["active_parameters"] == row["parameters"] else f"{row['active_parameters']:,}",
                f"{row['vocabulary']:,}",
                f"{row['context']:,}",
                row["initialization"],
            )
            for row in rows
        ),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
