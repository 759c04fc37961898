"""``model-foundry check``: is a recipe right, before anything is read or trained?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from model_foundry.cli._completion import recipe_names
from model_foundry.cli._panels import START


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("check", rich_help_panel=START)
    def check(
        recipe: Annotated[
            str,
            typer.Argument(help="A recipe file, or the name of a shipped one.", autocompletion=recipe_names),
        ],
        overrides: Annotated[
            list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Values that replace the recipe's.")
        ] = None,
        resolved: Annotated[
            bool, typer.Option("--resolved", help="Print the whole recipe, defaults filled in.")
        ] = False,
        smoke: Annotated[bool, typer.Option("--smoke", help="Check its small size.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the whole recipe as JSON.")] = False,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
    ) -> None:
        """Check a recipe: all problems at once, each with its place and repair; exit status 2 where any is.

        Example: model-foundry check demo optimizer.learning_rate=3e-4
        """
        from model_foundry.config.load import load_recipe_with_sources

        loaded = load_recipe_with_sources(
            recipe, overrides or [], allow_custom_code=allow_custom_code, smoke=smoke
        )
        if not smoke and loaded.has_smoke:  # it is not read otherwise, and wrong all the same
            load_recipe_with_sources(recipe, overrides or [], allow_custom_code=allow_custom_code, smoke=True)
        if as_json:
            typer.echo(json.dumps(loaded.config.resolved(), ensure_ascii=False))
        elif resolved:
            typer.echo(loaded.resolved_text, nl=False)
        else:
            typer.echo(f"{loaded.path}: no problems; run {loaded.config.run_name}")
