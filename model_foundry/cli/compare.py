"""``model-foundry compare``: what differs between runs, and whether it made a difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_foundry.cli._panels import SHARE

if TYPE_CHECKING:
    from model_foundry.report.comparison import Comparison


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("compare", rich_help_panel=SHARE)
    def compare(
        runs: Annotated[list[Path], typer.Argument(help="Folders of two or more runs.")],
        metric: Annotated[
            str | None, typer.Option(help="Only measures whose name holds this, groups included.")
        ] = None,
        html: Annotated[Path | None, typer.Option(help="Also write a page with curves on one axis.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Compare runs by their files: recipe, text, code, environment, and the last evaluations.

        Of two runs over the same items differences come with paired bootstrap intervals (95 %); runs that
        differ by their seeds alone are one group, with mean and standard deviation.

        Example: model-foundry compare runs/baseline-1 runs/edited-1
        """
        from model_foundry.report import comparison as comparing

        found = comparing.compare_runs(runs, metric=metric)
        if html is not None:
            from model_foundry.report.compare_page import write_comparison

            write_comparison(found, html)
        text = json.dumps(comparing.as_json(found), ensure_ascii=False) if as_json else _in_words(found)
        typer.echo(text)


def _in_words(found: Comparison) -> str:
    names = [run.name for run in found.runs]
    lines = ["runs: " + " · ".join(names), ""]
    lines += ["differs:"] if found.differs else ["nothing differs in recipe, text, code and environment"]
    lines += [f"  {key}: {' | '.join(values)}" for key, values in found.differs]
    lines += ["", "last evaluations:"] if found.rows else ["", "no evaluation is in evaluations/ of any run"]
    for row in found.rows:
        if len(found.groups) < len(found.runs):
            parts = []
            for group in found.groups:
                mean, deviation, count = found.mean_and_deviation(row, group)
                spread = "" if deviation is None else f" ± {deviation:.4f}"
                parts.append(f"{group.name} {mean:.4f}{spread} (n={count})")
            lines.append(f"  {row.label}: {' | '.join(parts)}")
        else:
            values = ["-" if value is None else f"{value:.4f}" for value in row.values]
            lines.append(f"  {row.label}: {' | '.join(values)}{_delta(row.delta)}")
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def _delta(delta: object) -> str:
    from model_foundry.report.paired import Delta

    if not isinstance(delta, Delta):
        return ""
    return f"   difference {delta.value:+.4f} [{delta.low:+.4f}, {delta.high:+.4f}], {delta.items:,} items"
