"""The console command ``model-foundry``: one file a verb, heavy imports inside the verb that needs them."""

from __future__ import annotations

import sys

import typer

from model_foundry.cli import batches, checkpoints, generate, ngram, train, verify
from model_foundry.errors import ModelFoundryError

app = typer.Typer(
    name="model-foundry",
    help="Train language models from scratch: one recipe becomes a trained, evaluated, resumable model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train.add_to(app)
generate.add_to(app)
batches.add_to(app)
verify.add_to(app)
checkpoints.add_to(app)
ngram.add_to(app)


def main() -> None:
    """Run the command; what a user can repair ends in one line and its exit status."""
    try:
        app()
    except ModelFoundryError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
