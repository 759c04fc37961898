"""``model-foundry generate``: text from a run or checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("generate", rich_help_panel=RUN)
    def generate(
        run: Annotated[
            Path, typer.Argument(help="A run's folder, one of its checkpoints, or a model's folder.")
        ],
        prompt: Annotated[str, typer.Argument(help="The beginning to continue.")],
        checkpoint: Annotated[
            str, typer.Option(help="Of a run: last, best, updates such as 100, or an alias.")
        ] = "last",
        tokens: Annotated[int, typer.Option(min=1, help="Length of the continuation.")] = 100,
        temperature: Annotated[float, typer.Option(min=0, help="0 takes the most probable token.")] = 0.8,
        top_p: Annotated[float, typer.Option(help="Draw among the tokens that hold this share.")] = 0.95,
        seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal text.")] = 1,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Continue a prompt with a trained model.

        Example: model-foundry generate runs/demo "Return the"
        """
        if not 0 < top_p <= 1:
            raise RecipeError(f"--top-p {top_p}: expected a share above 0 and at most 1, such as 0.95.")
        from model_foundry.corpus.encoder import TextEncoder
        from model_foundry.running.choosing import choose_model
        from model_foundry.running.writing_text import continue_text

        folder = choose_model(run, checkpoint)
        encoder = TextEncoder(folder)
        ids = continue_text(
            folder, encoder, prompt, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed
        )
        before = encoder.encode_batch([prompt])[0].tolist()
        text = encoder.decode_after(before, ids)
        facts = {"model": str(folder), "prompt": prompt, "continuation": text, "tokens": len(ids)}
        typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else prompt + text)
