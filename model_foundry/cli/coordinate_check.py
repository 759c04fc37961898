"""``model-foundry coordinate-check``: whether activations keep their size when the model gets wider."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._completion import recipe_names
from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.verification.coordinates import CoordinateCheck


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("coordinate-check", rich_help_panel=RUN)
    def coordinate_check(
        recipe: Annotated[
            str,
            typer.Argument(
                help="A recipe file, or the name of a shipped recipe.", autocompletion=recipe_names
            ),
        ],
        overrides: Annotated[
            list[str] | None, typer.Argument(metavar="[a.b=c ...]", help="Values that replace the recipe's.")
        ] = None,
        widths: Annotated[
            str, typer.Option(help="Widths of the copies, in rising order; heads keep their size.")
        ] = "64,128,256",
        updates: Annotated[int, typer.Option(min=1, help="How many updates each copy is trained.")] = 10,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
    ) -> None:
        """Train copies of several widths for a few updates, with and without muP, and compare activations.

        Printed is the root mean square at each place, before the first update and after each, and the slope
        of its logarithm over that of the width. The copies are trained on the recipe's corpus, at its peak
        learning rate. Exit status 1 when something follows the width under muP. Nothing is written.

        Example: model-foundry coordinate-check demo training.batch_size=4 --widths 64,128,256
        """
        sizes = _read(widths)
        from model_foundry.config.load import load_recipe_with_sources
        from model_foundry.running.building import prepare_data
        from model_foundry.verification.coordinates import check_coordinates

        loaded = load_recipe_with_sources(recipe, overrides or [], allow_custom_code=allow_custom_code)
        folders = list(dict.fromkeys([loaded.path.parent, Path.cwd()]))
        say = (lambda text: None) if as_json else typer.echo
        data = prepare_data(loaded.config, folders, say)
        check = check_coordinates(loaded.config, data, folders, widths=sizes, updates=updates, say=say)
        typer.echo(json.dumps(_answer(check)) if as_json else "\n".join(_lines(check)))
        if not check.is_flat(check.parametrizations[-1]):
            raise typer.Exit(1)


def _read(widths: str) -> list[int]:
    words = [word.strip() for word in widths.split(",")]
    sizes = [int(word) for word in words if word.isdecimal()]
    if len(sizes) < max(2, len(words)) or sizes != sorted(set(sizes)) or not sizes[0]:
        raise RecipeError(
            f"--widths {widths}: expected two or more widths in rising order, such as 64,128,256."
        )
    return sizes


def _answer(check: CoordinateCheck) -> dict[str, Any]:
    return {
        "trials": [asdict(trial) for trial in check.trials],
        "slopes": {name: check.slopes(name) for name in check.parametrizations},
        "is_flat": {name: check.is_flat(name) for name in check.parametrizations},
    }


def _lines(check: CoordinateCheck) -> list[str]:
    from model_foundry.verification.coordinates import PLACES

    lines = []
    for name in check.parametrizations:
        slopes = check.slopes(name)
        for place in PLACES:
            lines += ["", f"{name}: RMS of {place.replace('_', '-')}, slope {slopes[place]:+.2f}"]
            for trial in check.trials:
                if trial.parametrization == name:
                    values = " ".join(f"{value:9.4g}" for value in trial.rms[place])
                    lines.append(f"  width {trial.width:5d}  {values}")
    verdicts = [
        f"{name}: {'flat in the width' if check.is_flat(name) else 'follows the width'}"
        for name in check.parametrizations
    ]
    return [*lines, "", *verdicts]
