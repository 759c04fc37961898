"""``model-foundry average``: averaged weights as a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("average", rich_help_panel=RUN)
    def average(
        run: Annotated[
            str, typer.Argument(metavar="RUN", help="A run's folder; with --kept also RUN@UPDATES.")
        ],
        out: Annotated[Path, typer.Option(help="The folder to write.")],
        last: Annotated[
            int | None, typer.Option(min=1, help="Average the newest so many checkpoints.")
        ] = None,
        kept: Annotated[
            bool, typer.Option("--kept", help="Take the average that the run kept (its section averaging).")
        ] = False,
    ) -> None:
        """Write averaged weights, with configuration and tokenizer, as a folder that from_pretrained loads.

        Example: model-foundry average runs/demo --last 3 --out soup
        """
        from model_foundry.running.averages import (
            average_checkpoints,
            export_kept_average,
            newest_checkpoints,
        )
        from model_foundry.running.branching import find_trunk

        if (last is None) is not kept:
            raise RecipeError("expected one of --last N and --kept: which average is meant?")
        if last is not None:
            found = newest_checkpoints(Path(run), last)
            average_checkpoints(found, out)
            names = ", ".join(checkpoint.path.name for checkpoint in found)
            typer.echo(f"{out}: the average of {names}")
        else:
            checkpoint = find_trunk(run)
            export_kept_average(checkpoint, out)
            typer.echo(f"{out}: the average that the run had kept at {checkpoint.path.name}")
