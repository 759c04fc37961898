"""The console command ``model-foundry``: one file a verb, heavy imports inside the verb that needs them.

A verb is a file of this folder with a function ``add_to``; files whose names begin with an underscore are
helpers.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import typer

from model_foundry.cli._panels import arrange
from model_foundry.errors import ModelFoundryError

app = typer.Typer(
    name="model-foundry",
    help="Train language models from scratch: one recipe becomes a trained, evaluated, resumable model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"):
    importlib.import_module(f"{__name__}.{_verb}").add_to(app)
arrange(app)


def main() -> None:
    """Run the command; what a user can repair ends in one line and its exit status."""
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None  # rich leaves out colours by itself, but not bold and dim
    try:
        app()
    except ModelFoundryError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
