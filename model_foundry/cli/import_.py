"""``model-foundry import``: a model of another program as a folder that loads anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli._panels import SHARE
from model_foundry.errors import RecipeError


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("import", rich_help_panel=SHARE)
    def import_(
        file: Annotated[Path, typer.Argument(help="A checkpoint of llama2.c, version 0 (float32).")],
        folder: Annotated[Path, typer.Argument(help="The folder to make.")],
        tokenizer: Annotated[Path, typer.Option(help="Its tokenizer.bin, from llama2.c, too.")],
    ) -> None:
        """Make a Hugging Face folder of a model that another program wrote; so far llama2.c's.

        Example: model-foundry import stories260K.bin stories260k --tokenizer tok512.bin
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RecipeError(f"{folder}: is there already. Name a folder that is not, or an empty one.")
        from transformers.utils import logging as library_log

        from model_foundry.importing.llama2c import read_llama2c
        from model_foundry.importing.llama2c_tokenizer import write_llama2c_tokenizer

        header, model = read_llama2c(file)
        folder.mkdir(parents=True, exist_ok=True)
        write_llama2c_tokenizer(tokenizer, header.vocabulary_size, folder)
        library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
        model.save_pretrained(folder)
        parameters = sum(weight.numel() for weight in model.parameters())
        typer.echo(f"{folder}: LlamaForCausalLM, {parameters:,} parameters, context {header.context}")
