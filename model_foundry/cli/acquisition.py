"""``model-foundry acquisition``: when each word, item or paradigm was learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._json import to_json
from model_foundry.cli._panels import RUN
from model_foundry.cli._tables import write_csv
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.evaluation._acquisition import Acquisition
    from model_foundry.running.acquisition_tables import Curve, Curves


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("acquisition", rich_help_panel=RUN)
    def acquisition(
        run: Annotated[Path, typer.Argument(help="The folder of a run, evaluated at several checkpoints.")],
        suite: Annotated[
            str, typer.Option(help="Which of its evaluations, by name, as in evaluations/NAME.")
        ] = "surprisal",
        by: Annotated[
            str, typer.Option(help="item: every word where it stands; word: all places of one spelling.")
        ] = "item",
        value: Annotated[
            str, typer.Option(help="Which bits: corrected_bits or surprisal_bits.")
        ] = "surprisal_bits",
        level: Annotated[
            str | None, typer.Option(help="Instead of items the groups of a level, such as paradigm.")
        ] = None,
        measure: Annotated[str, typer.Option(help="With --level: the measure.")] = "accuracy",
        output: Annotated[Path | None, typer.Option(help="The CSV file; else it is printed.")] = None,
        curves: Annotated[
            Path | None, typer.Option(help="A CSV for the curves: a row for every value, with its fit.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the rows.")] = False,
    ) -> None:
        """Fit a sigmoid to every learning curve of an evaluation and write a row about each, as CSV.

        age is log10 of the update at which the fit is half-way between chance and its best value; NA where it
        is not within the updates measured. Best with checkpoints that are spaced by their logarithm.

        Example: model-foundry acquisition runs/demo --by word --output ages.csv
        Example: model-foundry acquisition runs/demo --suite minimal_pairs --level paradigm
        """
        if by not in ("item", "word"):
            raise RecipeError(f"--by {by}: expected item or word.")
        from model_foundry.running.acquisition_tables import measure_curves, surprisal_curves

        found = (
            measure_curves(run, suite, level=level, measure=measure)
            if level
            else surprisal_curves(run, suite, by="word" if by == "word" else "item", value=value)
        )
        acquired = found.acquired()
        rows = [_row(found, *one) for one in acquired]
        if output or not as_json:
            _write(output, rows)
        if as_json:
            typer.echo(to_json({"rows": rows}))
        if curves:
            _write(curves, [row for one in acquired for row in _points(found, *one)])


def _write(path: Path | None, rows: list[dict[str, Any]]) -> None:
    write_csv(path, list(rows[0]), (list(row.values()) for row in rows))


def _row(found: Curves, curve: Curve, what: Acquisition) -> dict[str, Any]:
    fit = what.fit
    return {
        **curve.unit,
        "age": what.age,
        "age_updates": 10**what.age,
        "chance": found.chance,
        "final": what.final,
        "best": what.best,
        "forgetting": what.forgetting,
        "variability": what.variability,
        "fit_first": fit.first if fit else None,
        "fit_last": fit.last if fit else None,
        "fit_middle": fit.middle if fit else None,
        "fit_slope": fit.slope if fit else None,
        "points": what.points,
    }


def _points(found: Curves, curve: Curve, what: Acquisition) -> Iterator[dict[str, Any]]:
    import numpy as np

    for update, value in zip(curve.updates, curve.values, strict=True):
        fitted = float(what.fit(np.array([math.log10(update)]))[0]) if what.fit and update else None
        yield {**curve.unit, "update": update, **found.points[update], "value": value, "fitted": fitted}
