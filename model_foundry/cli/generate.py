"""``model-foundry generate``: text from a run or checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli._panels import RUN
from model_foundry.errors import CheckpointError, RecipeError


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("generate", rich_help_panel=RUN)
    def generate(
        run: Annotated[Path, typer.Argument(help="A run's folder, or one of its checkpoints.")],
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
        import torch

        from model_foundry.corpus.encoder import TextEncoder
        from model_foundry.evaluation._generation import continue_ids
        from model_foundry.model.loading import direction_of, load_model
        from model_foundry.running.choosing import choose_model

        folder = choose_model(run, checkpoint)
        encoder = TextEncoder(folder)
        model = load_model(folder, dtype=torch.float32)
        if direction_of(model) == "bidirectional":
            raise CheckpointError(
                f"{folder}: a {type(model).__name__} sees both sides of a token, and a text is continued "
                "by what sees only what is before. Name a causal model."
            )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        prompt_ids = encoder.encode_prompt(prompt)
        ids = continue_ids(
            model.to(device),  # type: ignore[arg-type]  # transformers hides nn.Module's signature of to
            prompt_ids,
            tokens=tokens,
            context=getattr(model.config, "max_position_embeddings", None) or 1024,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            device=device,
            stop_id=encoder.eos_id,
            vocabulary=encoder.vocab_size,
        )
        before = encoder.encode_batch([prompt])[0].tolist()
        text = encoder.decode_after(before, ids)
        facts = {"model": str(folder), "prompt": prompt, "continuation": text, "tokens": len(ids)}
        typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else prompt + text)
