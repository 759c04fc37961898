"""``model-foundry surprisal``: sentences to bits, as a table that R and pandas read at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from model_foundry.cli._json import to_json
from model_foundry.cli._panels import RUN
from model_foundry.cli._progress import progress
from model_foundry.cli._tables import write_csv
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.evaluation import Evaluator, Table


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

        corrected_bits moves the probability of a space to the word that it ends. The results are kept in
        evaluations/, a run's own or one here: a second call computes nothing, and the command acquisition
        reads them.

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
    from model_foundry.running.evaluation_files import EvaluationFiles
    from model_foundry.running.evaluation_session import open_session

    session = open_session(model, [evaluator], checkpoints, with_untrained=False)
    files = EvaluationFiles(session.targets.folder)
    with progress() as say:
        counts = session.run(files, say)
    results = [files.measured(evaluator.label, target.point.name) for target in session.targets.chosen]
    header = ["model", "update", "training_tokens", "training_words", *results[-1][1]]
    if output or not as_json:
        write_csv(output, header, (row for result in results for row in _rows(*result)))
    if as_json:
        rows = [dict(zip(header, row, strict=True)) for result in results for row in _rows(*result)]
        typer.echo(to_json({"items": rows}))
    facts = results[-1][0]["facts"]
    if lines := facts["empty_lines_left_out"]:
        _say(f"left out {len(lines)} empty sentences: lines {', '.join(map(str, lines[:20]))}")
    for key in ("items_without_value", "items_that_share_a_token", "sentences_in_windows"):
        if facts[key]:
            _say(f"{key.replace('_', ' ')}: {facts[key]}")
    _say(f"{counts.computed} computed, {counts.cached} as before; in {files.folder}")


def _rows(result: dict[str, Any], items: Table) -> Iterator[list[Any]]:
    place = [result[name] for name in ("checkpoint", "update", "tokens", "words")]
    for row in zip(*items.values(), strict=True):
        yield [*place, *row]


def _say(text: str) -> None:
    typer.echo(text, err=True)
