"""What ``prepare --diff`` prints."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from model_foundry.cli._json import to_json
from model_foundry.errors import RecipeError


def show_diff(
    recipe: str | None, overrides: list[str], number: int, as_json: bool, allow_custom_code: bool
) -> None:
    """Print sentences that a recipe changes, before and after; what differs is coloured on a terminal.

    Raises:
        RecipeError: When there is no recipe, or no intervention in it.
    """
    from dataclasses import asdict

    from model_foundry.config.load import load_recipe_with_sources
    from model_foundry.running.changed_sentences import marked, sample_changes

    if recipe is None:
        raise RecipeError("prepare: --diff shows what a recipe changes; name one, without --list or --clean.")
    loaded = load_recipe_with_sources(recipe, overrides, allow_custom_code=allow_custom_code)
    folders = list(dict.fromkeys([loaded.path.parent, Path.cwd()]))
    found = sample_changes(loaded.config, folders, number)
    if as_json:
        typer.echo(to_json({"changes": [asdict(change) for change in found]}))
        return
    is_coloured = not os.environ.get("NO_COLOR")
    for change in found:
        typer.echo(f"{change.source}, document {change.document}, sentence {change.sentence}")
        before, after = marked(change)
        styles = {"-": "red", "+": "green"}
        for sign, parts in (("-", before), ("+", after)):
            pieces = [
                typer.style(text, fg=styles[sign], bold=True) if is_new and is_coloured else text
                for text, is_new in parts
            ]
            typer.echo(f"  {sign} {''.join(pieces)}")
    typer.echo(f"{len(found)} of the sentences that change")
