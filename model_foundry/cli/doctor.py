"""``model-foundry doctor``: is this machine fit to train on, and what to do where it is not?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli._panels import START


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("doctor", rich_help_panel=START)
    def doctor(
        folder: Annotated[Path, typer.Option(help="Where runs will be written.")] = Path("."),
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a finding.")] = False,
    ) -> None:
        """Look at versions, devices, precision, threads, disk, memory, limits, cache, and two processes.

        Exit status 1 where something stands in the way of a run; each such line is followed by its repair.

        Example: model-foundry doctor
        """
        from model_foundry.running.examination import examine

        findings = list(examine(folder))
        for finding in findings:
            if as_json:
                typer.echo(json.dumps(asdict(finding), ensure_ascii=False))
                continue
            mark = {"good": "ok  ", "note": "note", "bad": "BAD "}[finding.verdict]
            typer.echo(f"{mark}  {finding.what}: {finding.found}")
            if finding.repair:
                typer.echo(f"      {finding.repair}")
        if any(finding.verdict == "bad" for finding in findings):
            raise typer.Exit(1)
