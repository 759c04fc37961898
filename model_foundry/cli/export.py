"""``model-foundry export``: a run or checkpoint as a Hugging Face folder with its model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from model_foundry.cli._panels import SHARE


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("export", rich_help_panel=SHARE)
    def export(
        source: Annotated[
            Path, typer.Argument(metavar="RUN|CHECKPOINT", help="A run, a checkpoint, an n-gram model.")
        ],
        folder: Annotated[
            Path | None,
            typer.Argument(metavar="[DEST]", help="The folder to make (default: exports/... in the run)."),
        ] = None,
        checkpoint: Annotated[
            str, typer.Option(help="Of a run: last, best, updates such as 100, or an alias.")
        ] = "last",
        average: Annotated[
            Literal["ema", "lawa"] | None, typer.Option(help="The average that the run kept.")
        ] = None,
        dtype: Annotated[
            Literal["fp32", "bf16"] | None, typer.Option(help="Precision (default: as it is).")
        ] = None,
        no_transformers_4: Annotated[
            bool, typer.Option("--no-transformers-4", help="Write the keys of transformers 5 alone.")
        ] = False,
        shard_size: Annotated[str, typer.Option(help="Most that one file of weights holds.")] = "5GB",
        license_: Annotated[
            str | None, typer.Option("--license", help="License that the card states, such as mit.")
        ] = None,
        language: Annotated[
            list[str] | None, typer.Option(help="Language that the card states, such as en; repeatable.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Write a model for others: weights, config, tokenizer, settings of generation, and a model card.

        The checkpoint is verified first, what was written is read back, and no folder is ever overwritten.

        Example: model-foundry export runs/demo demo-model --dtype bf16
        """
        from model_foundry.export import Choices, export_model

        choices = Choices(
            average=average,
            dtype=dtype,
            transformers_4=not no_transformers_4,
            shard_size=shard_size,
            license=license_,
            languages=tuple(language or ()),
        )
        done = export_model(source, folder, checkpoint=checkpoint, choices=choices)
        if as_json:
            facts = {**asdict(done), "folder": str(done.folder), "source": str(done.source)}
            typer.echo(json.dumps(facts, ensure_ascii=False))
            return
        size = f", {done.parameters:,} parameters in {done.dtype}" if done.parameters is not None else ""
        typer.echo(f"{done.folder}: {done.model}{size}, from {done.source}")
        if done.needs_import:
            typer.echo("  it needs `import model_foundry` before it is loaded")
