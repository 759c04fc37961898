"""``model-foundry report``: a run's folder as one HTML page, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli._panels import SHARE


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("report", rich_help_panel=SHARE)
    def report(
        run: Annotated[Path, typer.Argument(help="A run's folder.")],
        out: Annotated[Path | None, typer.Option(help="The page; default RUN/report.html.")] = None,
        formats: Annotated[
            str, typer.Option("--format", help="html, png, pdf, or several with commas between.")
        ] = "html",
        axis: Annotated[
            str, typer.Option(help="What png and pdf are drawn over: update, tokens, words or hours.")
        ] = "update",
    ) -> None:
        """Write the page of a run, from its files alone: while it runs, at its end, after a crash.

        The page has all axes and every number. With png or pdf each figure becomes a file of its own, in
        ``plots`` beside the page; they need matplotlib: pip install 'model-foundry[plots]'.

        Example: model-foundry report runs/demo --format html,pdf --axis tokens
        """
        from model_foundry.report.page import write_reports

        for path in write_reports(run, out, formats=formats, axis=axis):
            typer.echo(str(path))
