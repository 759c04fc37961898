"""``model-foundry tokenizer``: train that of a recipe, say what one makes of a text, compare several."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from model_foundry.cli._completion import recipe_names
from model_foundry.cli._json import to_json
from model_foundry.cli._panels import DATA
from model_foundry.errors import RecipeError

_COLUMNS = (
    "tokenizer",
    "model",
    "ids",
    "tokens",
    "tokens/word",
    "bytes/token",
    "unknown",
    "unused ids",
    "text",
)

_Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[a.b=c ...]", help="Values that replace the recipe's.")
]
_On = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="FILES", help="Text to measure on: a file or a pattern; may be repeated."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Custom = Annotated[bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")]
_PLACE = "A folder with tokenizer.json, a run, or a recipe."


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verbs."""
    group = typer.Typer(no_args_is_help=True, help="Tokenizers: train, report, compare.")
    group.command("train")(_train)
    group.command("report")(_report)
    group.command("compare")(_compare)
    app.add_typer(group, name="tokenizer", rich_help_panel=DATA)


def _train(
    recipe: Annotated[
        str,
        typer.Argument(help="A recipe file, or the name of a shipped one.", autocompletion=recipe_names),
    ],
    overrides: _Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Copy it into this folder, which is new or empty.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; all cores by default. Changes no byte.")
    ] = None,
    allow_custom_code: _Custom = False,
) -> None:
    """Train the tokenizer of a recipe and nothing else, or find it in the cache.

    It is the one that `prepare` and `train` use: the same text, sample and cache. Prints where it lies.

    Example: model-foundry tokenizer train demo

    Example: model-foundry tokenizer train recipe.yaml tokenizer.vocab_size=16k --out my-tokenizer
    """
    from model_foundry.corpus.encoder import TextEncoder

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"--out {out}: is there already, expected a new or an empty folder. Name another.")
    made = _of_recipe(
        recipe, overrides or [], workers=workers, is_shown=True, allow_custom_code=allow_custom_code
    )
    if out is not None:
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(made, partial)
        partial.replace(out)
    typer.echo(f"{TextEncoder(made).vocab_size:,} ids  {out or made}")


def _report(
    place: Annotated[
        str, typer.Argument(metavar="FOLDER|RUN|RECIPE", help=_PLACE, autocompletion=recipe_names)
    ],
    overrides: _Overrides = None,
    on: _On = None,
    as_json: _Json = False,
    allow_custom_code: _Custom = False,
) -> None:
    """Say what a tokenizer is, and with --on what it makes of a text.

    Without a text: its model, size, special tokens, and whether ids give a text back to the byte. With one:
    tokens per word (fertility) and bytes per token, the share of unknown tokens, and ids that are not used.

    Example: model-foundry tokenizer report runs/demo --on novel.txt

    Example: model-foundry tokenizer report recipe.yaml tokenizer.type=bpe --on "held-out/*.txt" --json
    """
    facts = _facts(
        place, overrides or [], on or [], is_shown=not as_json, allow_custom_code=allow_custom_code
    )
    typer.echo(to_json(facts) if as_json else "\n".join(_lines(facts)))


def _compare(
    places: Annotated[
        list[str], typer.Argument(metavar="FOLDER|RUN|RECIPE...", help=_PLACE, autocompletion=recipe_names)
    ],
    on: _On = None,
    as_json: _Json = False,
    allow_custom_code: _Custom = False,
) -> None:
    """Measure several tokenizers on one text, a line each.

    Example: model-foundry tokenizer compare runs/baseline my-tokenizer --on "held-out/*.txt"
    """
    if not on:
        raise RecipeError("tokenizer compare: tokenizers are compared on a text. Name files with --on.")
    found = [
        _facts(place, [], on, is_shown=not as_json, allow_custom_code=allow_custom_code) for place in places
    ]
    if as_json:
        typer.echo(to_json({"tokenizers": found}))
        return
    rows = [_COLUMNS, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if at in (0, 1, len(row) - 1) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def _facts(
    place: str, overrides: list[str], on: list[str], *, is_shown: bool, allow_custom_code: bool
) -> dict[str, Any]:
    from dataclasses import asdict

    from model_foundry.corpus.encoder import TextEncoder
    from model_foundry.corpus.source import Source
    from model_foundry.corpus.tokenizer_report import describe, measure
    from model_foundry.parts import find_part

    inputs = []
    part = find_part(Source, "text_files")  # type: ignore[type-abstract]
    source = part.model_validate({"path": on}) if on else None
    if source is not None:  # before anything is trained: a name may be wrong
        inputs = source.inputs([Path.cwd()])
    folder = _folder_of(place)
    if folder is not None and overrides:
        raise RecipeError(f"tokenizer: {' '.join(overrides)} goes with a recipe, and {place} is a folder.")
    made = folder or _of_recipe(
        place, overrides, workers=None, is_shown=is_shown, allow_custom_code=allow_custom_code
    )
    encoder = TextEncoder(made)
    facts = {"name": place, "folder": str(made), **describe(encoder)}
    if source is not None:
        texts = (text for item in inputs for text in source.documents(item))
        facts |= {"on": [item.name for item in inputs], **asdict(measure(encoder, texts, ", ".join(on)))}
    return facts


def _folder_of(place: str) -> Path | None:
    """Return the folder of a tokenizer, None for a recipe."""
    path = Path(place)
    if path.name == "tokenizer.json" and path.is_file():
        return path.parent
    if not path.is_dir():
        return None
    for folder in (path, path / "tokenizer"):
        if (folder / "tokenizer.json").is_file():
            return folder
    raise RecipeError(
        f"{path}: there is no tokenizer.json in it or in its folder tokenizer/. Name the folder of a "
        "tokenizer, a run whose training has begun, or a recipe."
    )


def _of_recipe(
    recipe: str, overrides: list[str], *, workers: int | None, is_shown: bool, allow_custom_code: bool
) -> Path:
    from model_foundry.config.load import load_recipe_with_sources
    from model_foundry.running.preparing import PreparationScreen, prepare_text

    loaded = load_recipe_with_sources(recipe, overrides, allow_custom_code=allow_custom_code)
    folders = list(dict.fromkeys([loaded.path.parent, Path.cwd()]))
    screen = PreparationScreen(typer.echo) if is_shown else None
    try:
        report = screen or (lambda progress: None)
        return prepare_text(
            loaded.config, folders, report, workers=workers, only_tokenizer=True
        ).tokenizer_folder
    finally:
        if screen is not None:
            screen.stop()


def _lines(facts: dict[str, Any]) -> list[str]:
    roles = {number: role for role, number in facts["roles"].items()}
    special = ", ".join(
        f"{number} {token}" + (f" ({roles[number]})" if number in roles else "")
        for number, token in facts["special_tokens"].items()
    )
    rows = [
        ("tokenizer", facts["folder"]),
        ("model", facts["model"]),
        ("ids", f"{facts['vocab_size']:,}"),
        ("special", special or "none"),
        ("text", facts["normalisation"]),
    ]
    if "on" in facts:
        rows += _measured(facts)
    return [f"{name:<18}{value}" for name, value in rows]


def _measured(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (
            "on",
            f"{facts['documents']:,} documents, {facts['words']:,} words, {facts['bytes']:,} bytes, "
            f"{facts['tokens']:,} tokens",
        ),
        ("tokens per word", f"{facts['tokens_per_word']:.3f}"),
        ("bytes per token", f"{facts['bytes_per_token']:.3f}"),
        ("unknown", f"{facts['unknown_share']:.4%} of the tokens"),
    ]
    if facts["byte_share"] is not None:
        rows.append(("single bytes", f"{facts['byte_share']:.4%} of the tokens"))
    rows.append(("unused ids", f"{facts['unused_ids']:,} ({facts['unused_share']:.1%})"))
    if facts["changed_pieces"]:
        rows.append(
            ("changed", f"{facts['changed_pieces']:,} parts of the text do not come back from their ids")
        )
    return rows


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    return (
        facts["name"],
        facts["model"],
        f"{facts['vocab_size']:,}",
        f"{facts['tokens']:,}",
        f"{facts['tokens_per_word']:.3f}",
        f"{facts['bytes_per_token']:.3f}",
        f"{facts['unknown_share']:.3%}",
        f"{facts['unused_ids']:,}",
        facts["normalisation"],
    )
