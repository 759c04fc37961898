"""``model-foundry branch``: a cool-down run from a checkpoint of a trunk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("branch", context_settings=_CONTEXT)
    def branch(
        trunk: Annotated[
            str,
            typer.Argument(metavar="RUN[@UPDATES]", help="A run, one of its updates, or a checkpoint."),
        ],
        overrides: Annotated[
            list[str] | None,
            typer.Argument(metavar="[a.b=c ...]", help="Values that replace those of the trunk's recipe."),
        ] = None,
        decay: Annotated[
            str, typer.Option(help="Length of the fall: 10% of the branch's whole length, or 200 updates.")
        ] = "10%",
        shape: Annotated[str, typer.Option(help="linear, 1-sqrt, cosine or exponential.")] = "linear",
        floor: Annotated[str, typer.Option(help="Where it ends, as a share of the trunk's rate.")] = "0",
        run_dir: Annotated[
            Path | None, typer.Option(help="The branch's folder (default: runs/<name>).")
        ] = None,
        no_train: Annotated[
            bool, typer.Option("--no-train", help="Make the folder and say how to train it.")
        ] = False,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
    ) -> None:
        """Go on from a checkpoint in a new run whose learning rate falls to its end.

        The branch has the trunk's weights, moments, clock and place in the data, and falls from the rate that
        the trunk had there. It is a run like any other: it can be resumed, verified, and branched again.

        Example: model-foundry branch runs/trunk@480 --decay 10%
        """
        import shlex

        from pydantic_core import PydanticCustomError

        from model_foundry.errors import RecipeError
        from model_foundry.running import branching
        from model_foundry.units import Duration, read_fraction

        try:
            asked, least = Duration.parse(decay), read_fraction(floor)
        except PydanticCustomError as error:
            raise RecipeError(f"--decay {decay} --floor {floor}: {error}.") from error
        found = branching.find_trunk(trunk)
        length = branching.decay_updates(found, asked)
        config = branching.branch_recipe(
            found,
            length,
            shape=shape,
            floor=least,
            overrides=overrides or [],
            allow_custom_code=allow_custom_code,
        )
        run = branching.make_branch(found, length, config, run_dir or Path("runs") / config.run_name)
        arguments = branching.train_arguments(found, run, allow_custom_code=allow_custom_code)
        typer.echo(
            f"{run.path}: a branch of {found.path}, falling over {length} updates to {found.updates + length}"
        )
        if no_train:
            typer.echo(f"  next: {shlex.join(['model-foundry', 'train', *arguments])}")
            return
        from model_foundry.train import main

        main(arguments, program="model-foundry branch")
