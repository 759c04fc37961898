"""``model-foundry runs list``: the runs of a folder and how they stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._json import to_json
from model_foundry.cli._panels import SHARE

if TYPE_CHECKING:
    from model_foundry.report.facts import RunFacts

_COLUMNS = ("run", "state", "updates", "tokens", "loss", "held-out loss", "started")


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""
    group = typer.Typer(no_args_is_help=True, help="The runs of a folder.")

    @group.command("list")
    def list_runs(
        folder: Annotated[Path, typer.Argument(help="The folder that holds them.")] = Path("runs"),
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a run.")] = False,
    ) -> None:
        """List runs: state, progress, last loss, newest first.

        Example: model-foundry runs list
        """
        from model_foundry.errors import RunDirectoryError
        from model_foundry.report.facts import read_run

        if not folder.is_dir():
            raise RunDirectoryError(f"{folder}: there is no such folder. Name the one that holds the runs.")
        found = [read_run(path.parent) for path in folder.glob("*/status.json")]
        found.sort(key=lambda run: str(run.status.get("started_at")), reverse=True)
        rows = [_row(run) for run in found]
        if as_json:
            for row in rows:
                typer.echo(to_json(row))
        elif rows:
            typer.echo(_table(rows))
        else:
            typer.echo(f"no runs in {folder}")

    app.add_typer(group, name="runs", rich_help_panel=SHARE)


def _row(run: RunFacts) -> dict[str, Any]:
    last = run.updates[-1] if run.updates else {}
    held_out = [line["perplexity/loss"] for line in run.evaluations if "perplexity/loss" in line]
    return {
        "run": run.name,
        "state": run.status.get("state"),
        "updates": last.get("update", 0),
        "of": run.plan.get("updates"),
        "tokens": last.get("tokens", 0),
        "loss": last.get("loss"),
        "held-out loss": held_out[-1] if held_out else None,
        "started": run.status.get("started_at"),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    shown = [_COLUMNS, *(tuple(_cell(row, name) for name in _COLUMNS) for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown]
    return "\n".join(line.rstrip() for line in lines)


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if name == "updates" and row["of"] is not None:
        return f"{value:,} of {row['of']:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value if value is not None else "-")
