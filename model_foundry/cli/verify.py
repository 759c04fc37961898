"""``model-foundry verify``: proof that a run, or a recipe, trains exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._completion import recipe_names
from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.verification.proof import Verdict


_RunOrRecipe = Annotated[
    str,
    typer.Argument(
        metavar="RUN|RECIPE",
        help="A run's folder, a recipe file, or a shipped recipe.",
        autocompletion=recipe_names,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("verify", rich_help_panel=RUN)
    def verify(
        run_or_recipe: _RunOrRecipe,
        overrides: Annotated[
            list[str] | None,
            typer.Argument(metavar="[a.b=c ...]", help="With a recipe: values that replace the recipe's."),
        ] = None,
        start: Annotated[
            int | None,
            typer.Option("--from", help="With a run: the number of the checkpoint to begin at."),
        ] = None,
        updates: Annotated[
            int | None,
            typer.Option(
                min=2, help="With a recipe: updates trained, straight and broken in the middle (20)."
            ),
        ] = None,
        processes: Annotated[
            int | None, typer.Option(min=1, help="With a recipe: train with so many processes (1).")
        ] = None,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Train again and compare: "bit-identical", or the first difference (exit status 1).

        A run is replayed from one of its resumable checkpoints to the next. A recipe is trained straight, and
        again with a kill and a resume in the middle. Compared are weights, optimizer, random states, clock,
        and what every logged update was shown and lost. The run's folder stays as it is.

        Example: model-foundry verify runs/demo
        Example: model-foundry verify demo training.micro_batch_size=4 --updates 20
        """
        from model_foundry.verification.proof import verify_recipe, verify_run

        run = Path(run_or_recipe)
        say = (lambda text: None) if as_json else typer.echo
        if run.is_dir():
            _refuse({"a.b=c": overrides, "--updates": updates, "--processes": processes}, "a recipe", "a run")
            verdict = verify_run(run, say, start=start, allow_custom_code=allow_custom_code)
        else:
            _refuse({"--from": start}, "a run", "a recipe")
            verdict = verify_recipe(
                run_or_recipe,
                overrides or [],
                say,
                updates=updates or 20,
                processes=processes or 1,
                allow_custom_code=allow_custom_code,
            )
        _tell(verdict, as_json=as_json)


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    typer.echo(json.dumps(_facts(verdict)) if as_json else _table(verdict))
    verdict.require_exact()
    if not as_json:
        typer.echo(f"bit-identical: {verdict.title}")


def _refuse(given: dict[str, object], of: str, found: str) -> None:
    names = [name for name, value in given.items() if value not in (None, [])]
    if names:
        raise RecipeError(f"verify: {', '.join(names)} goes with {of}, and {found} was given. Leave it out.")


def _facts(verdict: Verdict) -> dict[str, Any]:
    compared = [
        {"kind": kind.kind, "what": kind.what, "differences": len(kind.differences)}
        for kind in verdict.compared
    ]
    differ = any(kind["differences"] for kind in compared)
    return {"title": verdict.title, "is_identical": not differ, "compared": compared}


def _table(verdict: Verdict) -> str:
    rows = [
        (kind.kind, kind.what, f"{len(kind.differences)} differ" if kind.differences else "identical")
        for kind in verdict.compared
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"  {kind:<{widths[0]}}  {what:<{widths[1]}}  {result}" for kind, what, result in rows)
