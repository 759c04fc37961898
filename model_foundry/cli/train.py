"""``model-foundry train``: the same as ``python -m model_foundry.train``."""

from __future__ import annotations

import typer

from model_foundry.cli._panels import RUN

_CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("train", context_settings=_CONTEXT, add_help_option=False, rich_help_panel=RUN)
    def train(context: typer.Context) -> None:
        """Train what a recipe describes.

        Example: model-foundry train demo training.duration="50 updates"
        """
        # One parser for every way in: the contract's own.
        from model_foundry.train import main

        main(context.args, program="model-foundry train")
