"""``model-foundry report``: a run's folder as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("report")
    def report(
        run: Annotated[Path, typer.Argument(help="A run's folder.")],
        out: Annotated[Path | None, typer.Option(help="The page; default RUN/report.html.")] = None,
    ) -> None:
        """Write the page of a run, from its files alone: while it runs, at its end, after a crash.

        Example: model-foundry report runs/demo
        """
        from model_foundry.report.page import write_report

        typer.echo(str(write_report(run, out)))
