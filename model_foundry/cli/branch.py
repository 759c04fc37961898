"""``model-foundry branch``: a cool-down run from a checkpoint of a trunk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_foundry.cli._panels import RUN

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.training.checkpoint_files import Checkpoint

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("branch", context_settings=_CONTEXT, rich_help_panel=RUN)
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

        from model_foundry.running.branching import make_branch, train_arguments

        found, length, config = _asked(
            trunk, decay, shape, floor, overrides or [], allow_custom_code=allow_custom_code
        )
        run = make_branch(found, length, config, run_dir or Path("runs") / config.run_name)
        arguments = train_arguments(found, run, allow_custom_code=allow_custom_code)
        typer.echo(
            f"{run.path}: a branch of {found.path}, falling over {length} updates to {found.updates + length}"
        )
        if no_train:
            typer.echo(f"  next: {shlex.join(['model-foundry', 'train', *arguments])}")
            return
        from model_foundry.train import main

        main(arguments, program="model-foundry branch")


def _asked(
    trunk: str, decay: str, shape: str, floor: str, overrides: list[str], *, allow_custom_code: bool
) -> tuple[Checkpoint, int, ExperimentConfig]:
    """Return checkpoint, length of the fall and recipe of the branch that the command line describes."""
    from pydantic_core import PydanticCustomError

    from model_foundry.errors import RecipeError
    from model_foundry.running.branching import branch_recipe, decay_updates, find_trunk
    from model_foundry.units import Duration, read_fraction

    try:
        asked, least = Duration.parse(decay), read_fraction(floor)
    except PydanticCustomError as error:
        raise RecipeError(f"--decay {decay} --floor {floor}: {error}.") from error
    found = find_trunk(trunk)
    length = decay_updates(found, asked)
    config = branch_recipe(
        found, length, shape=shape, floor=least, overrides=overrides, allow_custom_code=allow_custom_code
    )
    return found, length, config
