"""``model-foundry plan``: what a run will take, before it is begun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from model_foundry.cli._panels import START
from model_foundry.errors import RecipeError

_Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")]
_Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Values that replace the recipe's.")
]
_Probe = Annotated[
    bool,
    typer.Option("--probe", help="Time some updates of the real run here; they are thrown away."),
]
_ProbeSeconds = Annotated[
    float, typer.Option(min=0.0, max=3600.0, help="How long the probe takes updates: three, at least.")
]
_Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="Estimate for a device of the table, such as h100.")
]
_Devices = Annotated[int, typer.Option(min=1, max=2**20, help="How many devices train together.")]
_Placement = Annotated[
    str, typer.Option(help="How devices share the state: ddp (each has all), fsdp2, or hsdp (8 a machine).")
]
_Mfu = Annotated[
    float | None,
    typer.Option(min=0.001, max=1.0, help="With --device: the share of its peak that is used."),
]
_Price = Annotated[
    str | None, typer.Option(metavar="X/h", help="What one device costs an hour, such as 2.5/h.")
]
_NoCorpus = Annotated[
    bool, typer.Option("--no-corpus", help="Do not prepare the text; estimate it from --corpus-size.")
]
_CorpusSize = Annotated[
    str | None,
    typer.Option(metavar="LENGTH", help="With --no-corpus: the training text, such as '100M words'."),
]
_RunDir = Annotated[Path | None, typer.Option(help="Where the run would lie; its disk is looked at.")]
_Smoke = Annotated[bool, typer.Option("--smoke", help="Plan the recipe's small size.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Code = Annotated[bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")]


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("plan", rich_help_panel=START)
    def plan(
        recipe: _Recipe,
        overrides: _Overrides = None,
        probe: _Probe = False,
        probe_seconds: _ProbeSeconds = 10.0,
        device: _Device = None,
        devices: _Devices = 1,
        placement: _Placement = "ddp",
        mfu: _Mfu = None,
        price: _Price = None,
        no_corpus: _NoCorpus = False,
        corpus_size: _CorpusSize = None,
        run_dir: _RunDir = None,
        smoke: _Smoke = False,
        as_json: _Json = False,
        allow_custom_code: _Code = False,
    ) -> None:
        """Say what a run will take: parameters, memory, length, checkpoints, disk, time and cost.

        Nothing is trained but what --probe asks for, and no run folder is made. The text is prepared into the
        cache, as the run would do.

        Example: model-foundry plan demo training.batch_size=32 --probe
        """
        asked = {"device": device, "devices": devices, "placement": placement, "mfu": mfu, "price": price}
        asked |= {"with_corpus": not no_corpus, "corpus_size": corpus_size}
        asked |= {"probe_seconds": probe_seconds if probe else None}
        _require_sense(asked)
        from model_foundry.config.load import load_recipe_with_sources
        from model_foundry.planning.asking import Question, answer
        from model_foundry.planning.texts import lines_of

        flags = {"smoke": smoke, "allow_custom_code": allow_custom_code}
        loaded = load_recipe_with_sources(recipe, overrides or [], **flags)
        question = Question(loaded, recipe, run_dir=run_dir, **flags, **asked)  # type: ignore[arg-type]
        forecast = answer(question, say=lambda text: typer.echo(text, err=True))
        typer.echo(json.dumps(forecast.as_json()) if as_json else "\n".join(lines_of(forecast)))


def _require_sense(asked: dict[str, Any]) -> None:
    """Refuse options that do not go together, before anything heavy is loaded."""
    is_probe, has_device = asked["probe_seconds"] is not None, asked["device"] is not None
    if asked["placement"] not in ("ddp", "fsdp2", "hsdp"):
        raise RecipeError(f"--placement {asked['placement']}: expected ddp, fsdp2 or hsdp.")
    if asked["placement"] == "hsdp" and asked["devices"] > 8 and asked["devices"] % 8:
        raise RecipeError(f"--devices {asked['devices']}: expected a multiple of 8 for hsdp, 8 a machine.")
    if is_probe and not asked["with_corpus"]:
        raise RecipeError("--probe trains real updates, and --no-corpus plans without text. Leave one out.")
    if is_probe and asked["devices"] > 1:
        raise RecipeError(
            f"--probe trains one process on this machine, and --devices is {asked['devices']}. Leave one out."
        )
    if asked["corpus_size"] is not None and asked["with_corpus"]:
        raise RecipeError("--corpus-size: expected beside --no-corpus; a prepared corpus is counted.")
    if asked["mfu"] is not None and not has_device:
        raise RecipeError("--mfu: expected beside --device, whose peak it is a share of.")
    if asked["price"] is not None and not (has_device or is_probe):
        raise RecipeError("--price: expected beside --probe or --device, which give the time.")
