"""``model-foundry ngram``: the n-gram baseline of a run or recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from model_foundry.cli._completion import recipe_names
from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.corpus.prepared import PreparedCorpus
    from model_foundry.model.ngram.smoothing import Smoothing

_SMOOTHINGS = ("witten_bell", "modified_kneser_ney")
_HIGHEST_ORDER = 9


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("ngram", rich_help_panel=RUN)
    def ngram(
        run_or_recipe: Annotated[
            str,
            typer.Argument(
                metavar="RUN|RECIPE",
                help="A run's folder, a recipe file, or a shipped recipe.",
                autocompletion=recipe_names,
            ),
        ],
        overrides: Annotated[
            list[str] | None,
            typer.Argument(metavar="[a.b=c ...]", help="With a recipe: values that replace the recipe's."),
        ] = None,
        order: Annotated[
            int, typer.Option(min=1, max=_HIGHEST_ORDER, help="Tokens of the longest n-grams.")
        ] = 5,
        smoothing: Annotated[str, typer.Option(help=" or ".join(_SMOOTHINGS) + ".")] = "witten_bell",
        output: Annotated[
            Path | None,
            typer.Option(help="Folder of the model; default RUN/ngram/order-N. Needed with a recipe."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
    ) -> None:
        """Count an n-gram model on a run's training tokens and measure it on its held-out text.

        The text and the tokenizer are the run's own, so its numbers stand beside the run's. Every order up to
        the one asked for is measured; that one is written, and can be evaluated like a checkpoint.

        Example: model-foundry ngram runs/demo --order 5
        Example: model-foundry ngram demo --output demo-trigrams --order 3 --smoothing modified_kneser_ney
        """
        if smoothing not in _SMOOTHINGS:
            raise RecipeError(f"--smoothing {smoothing}: expected {' or '.join(_SMOOTHINGS)}.")
        run = Path(run_or_recipe)
        if run.is_dir() and overrides:
            raise RecipeError(f"ngram: {' '.join(overrides)} goes with a recipe, and a run was given.")
        if output is None and not run.is_dir():
            raise RecipeError("ngram: a recipe has no folder for the model. Name one with --output.")
        suffix = "" if smoothing == "witten_bell" else f"-{smoothing}"
        folder = output or run / "ngram" / f"order-{order}{suffix}"
        made = _make(run_or_recipe, overrides or [], folder, order, smoothing, not as_json, allow_custom_code)
        if as_json:
            typer.echo(json.dumps(made, ensure_ascii=False))


def _make(
    run_or_recipe: str,
    overrides: list[str],
    folder: Path,
    order: int,
    smoothing: str,
    is_told: bool,
    allow_custom_code: bool,
) -> dict[str, Any]:
    config, corpus = _opened(run_or_recipe, overrides, folder, allow_custom_code)
    from model_foundry.running.ngram_baseline import make_ngram

    def say(text: str) -> None:
        if is_told:
            typer.echo(text)

    def report(length: int, measures: dict[str, float]) -> None:
        for line in _lines(length, measures):
            say(line)

    say(f"{smoothing.replace('_', ' ')}, held out:")
    made = make_ngram(
        config, corpus, folder, order=order, smoothing=cast("Smoothing", smoothing), report=report
    )
    say(f"order {order} is in {folder}")
    return made


def _opened(
    run_or_recipe: str, overrides: list[str], folder: Path, allow_custom_code: bool
) -> tuple[ExperimentConfig, PreparedCorpus]:
    if (run := Path(run_or_recipe)).is_dir():
        from model_foundry.running.reopening import reopen_run

        return reopen_run(run, allow_custom_code=allow_custom_code)
    if folder.exists() and not (folder / "ngram.json").is_file():
        raise RecipeError(f"--output {folder}: is there and holds no n-gram model. Name another folder.")
    from model_foundry.config.load import load_recipe_with_sources

    recipe = load_recipe_with_sources(run_or_recipe, overrides, allow_custom_code=allow_custom_code)
    from model_foundry.running.building import prepare_data

    folders = list(dict.fromkeys([recipe.path.parent, Path.cwd()]))
    return recipe.config, prepare_data(recipe.config, folders, lambda text: None).corpus


def _lines(order: int, measures: dict[str, float]) -> list[str]:
    """Say the loss of an order in all, and by source where there are several."""
    if not measures:
        return [f"  order {order}  nothing is held out"]
    sources = [name.rpartition("/")[0] for name in measures if name.endswith("/loss")]
    lines = []
    for source in ["", *sources]:
        begin = f"{source}/" if source else ""
        bits = measures.get(f"{begin}bits_per_byte")
        name = f"    {source}" if source else f"  order {order}"
        lines.append(
            f"{name}  loss {measures[begin + 'loss']:.4f} nats"
            + ("" if bits is None else f"  {bits:.4f} bits per byte")
        )
    return lines
