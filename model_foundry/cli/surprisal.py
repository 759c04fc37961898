"""``model-foundry surprisal``: sentences to bits, as a table that R and pandas read at once."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from model_foundry.cli._json import to_json
from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.evaluation import Evaluator


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("surprisal", rich_help_panel=RUN)
    def surprisal(
        model: Annotated[
            Path, typer.Argument(help="A run, a checkpoint, a Hugging Face folder or an n-gram model.")
        ],
        file: Annotated[Path, typer.Argument(help="A .txt with a sentence a line, or a .csv or .tsv.")],
        unit: Annotated[str, typer.Option(help="A row for each word, token or region.")] = "word",
        begin: Annotated[
            str, typer.Option(help="What stands before a sentence: bos, eos, none; auto: the first there is.")
        ] = "auto",
        method: Annotated[
            str, typer.Option(help="causal, pll or pll_word_l2r; auto: by the model.")
        ] = "auto",
        stride: Annotated[
            int | None, typer.Option(help="Tokens between the windows of long texts (half of a window).")
        ] = None,
        regions: Annotated[str | None, typer.Option(help="Columns that hold a region each: a,b,c.")] = None,
        boundary: Annotated[str | None, typer.Option(help="Sign between regions in a sentence.")] = None,
        joiner: Annotated[str, typer.Option(help="What stands between regions of their own.")] = " ",
        checkpoints: Annotated[
            str, typer.Option(help="Of a run: last, all, every:N, or updates such as 0,100.")
        ] = "last",
        name: Annotated[
            str | None, typer.Option(help="What a run's evaluations call the results (surprisal).")
        ] = None,
        output: Annotated[Path | None, typer.Option(help="The CSV file; else it is printed.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the rows.")] = False,
    ) -> None:
        """Write the surprisal of every word, token or region of a file of sentences, in bits, as CSV.

        corrected_bits moves the probability of a space to the word that it ends. Of a run, the results are
        kept in its evaluations/, too, for the command acquisition.

        Example: model-foundry surprisal runs/demo sentences.txt --output words.csv
        Example: model-foundry surprisal runs/demo items.csv --unit region --checkpoints all --begin eos
        """
        settings = {
            "path": str(file),
            "unit": unit,
            "begin": begin,
            "method": method,
            "stride": stride,
            "regions": tuple(regions.split(",")) if regions else (),
            "boundary": boundary,
            "joiner": joiner,
            "name": name,
        }
        _run(_evaluator(settings), model, checkpoints, output, as_json)


def _evaluator(settings: dict[str, Any]) -> Evaluator:
    from model_foundry.evaluation import Evaluator as Contract
    from model_foundry.parts import find_part

    try:
        part: type[Evaluator] = find_part(Contract, "surprisal")  # type: ignore[type-abstract]
        return part.model_validate(settings)
    except ValidationError as error:
        problems = [f"--{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()]
        raise RecipeError("surprisal: " + "; ".join(problems)) from error


def _run(evaluator: Evaluator, model: Path, checkpoints: str, output: Path | None, as_json: bool) -> None:
    from model_foundry.running.subjects import find_models
    from model_foundry.running.surprisal_tables import item_rows, measure_models, write_items

    models = find_models(model, checkpoints)
    keep_in = model / "evaluations" if (model / "checkpoints").is_dir() else None
    results = measure_models(evaluator, models, keep_in=keep_in, say=_say)
    partial = output.with_name(f".{output.name}.partial") if output else None
    printed = io.StringIO() if as_json else sys.stdout
    with partial.open("w", encoding="utf-8", newline="") if partial else nullcontext(printed) as file:
        written = write_items(file, results)
    if partial and output:
        partial.replace(output)
    if as_json:
        rows = [row for point, outcome in written for row in item_rows(point, outcome)]
        typer.echo(to_json({"items": rows}))
    facts = written[-1][1].facts
    if lines := facts["empty_lines_left_out"]:
        _say(f"left out {len(lines)} empty sentences: lines {', '.join(map(str, lines[:20]))}")
    for key in ("items_without_value", "items_that_share_a_token", "sentences_in_windows"):
        if facts[key]:
            _say(f"{key.replace('_', ' ')}: {facts[key]}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
