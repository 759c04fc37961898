"""``model-foundry evaluate``: suites over the checkpoints of a run, or over any model's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from model_foundry.cli._panels import RUN
from model_foundry.cli._progress import progress


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("evaluate", rich_help_panel=RUN)
    def evaluate(
        model: Annotated[
            Path, typer.Argument(help="A run's folder, one of its checkpoints, or a model's folder.")
        ],
        suite: Annotated[
            list[str],
            typer.Option(
                help="A section of the run's recipe by name, a file (.yaml) with a section evaluation, "
                "blimp:PATH, minimal_pairs:PATTERN, perplexity, perplexity:PATTERN; once for each suite."
            ),
        ],
        checkpoints: Annotated[
            str, typer.Option(help="Of a run: all, last, best, every:N, or updates such as 0,100,1000.")
        ] = "all",
        output: Annotated[
            Path | None, typer.Option(help="Where results go; default: the run's evaluations/.")
        ] = None,
        device: Annotated[
            str, typer.Option(help="cpu, cuda, ...; auto takes an accelerator if there is one.")
        ] = "auto",
        csv: Annotated[bool, typer.Option("--csv", help="Write the tables as CSV, too.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
        allow_custom_code: Annotated[
            bool, typer.Option(help="Let a dotted type in the recipe import a module of your own.")
        ] = False,
    ) -> None:
        """Evaluate saved models; what was computed before is not computed again.

        Example: model-foundry evaluate runs/demo --suite perplexity --suite minimal_pairs:pairs.tsv
        """
        from model_foundry.running.evaluation_files import EvaluationFiles
        from model_foundry.running.evaluation_session import open_session

        with _quiet_libraries():
            session = open_session(
                model, suite, checkpoints, device=device, allow_custom_code=allow_custom_code
            )
            files = EvaluationFiles(output or session.targets.folder)
            with progress() as say:
                counts = session.run(files, say)
        tables = [files.write_table(evaluator) for evaluator in session.evaluators]
        written = [files.write_csv(table) for table in tables] if csv else []
        if as_json:
            facts = {"computed": counts.computed, "cached": counts.cached, "folder": str(files.folder)}
            typer.echo(json.dumps({**facts, "tables": tables}, ensure_ascii=False, allow_nan=False))
            return
        for table in tables:
            typer.echo(_in_words(table))
        typer.echo(f"{counts.computed} computed, {counts.cached} as before; in {files.folder}")
        for path in written:
            typer.echo(f"  {path}")


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    from transformers.utils import logging as library_log

    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    yield


_LEVELS = ("all", "source", "phenomenon")
_MOST_ROWS = 40


def _in_words(table: dict[str, Any]) -> str:
    """Return a table for people: a column a checkpoint, groups no finer than phenomena."""
    rows = [row for row in table["rows"] if row["level"] in _LEVELS]
    names = list(dict.fromkeys(row["checkpoint"] for row in rows))
    shown = names if len(names) <= 6 else [names[0], *names[-5:]]
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        label = row["measure"] if not row["group"] else f"{row['measure']} {row['group']}"
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        lines.setdefault((row["level"], label), {})[row["checkpoint"]] = value
    header = ["", *(name.removeprefix("checkpoint-") for name in shown)]
    body = [[label, *(cells.get(name, "") for name in shown)] for (_, label), cells in lines.items()]
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    cells = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in [header, *body[:_MOST_ROWS]]
    ]
    facts = {name: value for name, value in table["facts"].items() if not isinstance(value, dict | list)}
    intervals = facts.pop("intervals", None)
    told = ", ".join(f"{name}: {value}" for name, value in facts.items())
    skipped = table["facts"].get("skipped_items") or {}
    notes = [f"{count} items left out: {why}" for why, count in skipped.items()]
    notes += [f"limits in the table: {intervals}"] if intervals else []
    lines_below = [f"  {line.rstrip()}" for line in [*cells, *notes]]
    return "\n".join([f"{table['suite']} ({told})", *lines_below])
