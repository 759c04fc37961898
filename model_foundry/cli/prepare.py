"""``model-foundry prepare``: tokenizer and tokens of a recipe into the cache, and what is in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from model_foundry.cli._cache import show_cache
from model_foundry.cli._changes import show_diff
from model_foundry.cli._completion import recipe_names
from model_foundry.cli._json import to_json
from model_foundry.cli._panels import DATA
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource

_SHOWN = 200
"""Characters of a document that was left out."""


Recipe = Annotated[
    str | None,
    typer.Argument(
        help="A recipe file, or the name of a shipped one; none with --list and --clean.",
        autocompletion=recipe_names,
    ),
]
Diff = Annotated[
    int | None,
    typer.Option(min=1, help="Show so many of the sentences that interventions change, and stop."),
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Write a page: sources, types, lengths, duplicates, losses."),
]


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("prepare", rich_help_panel=DATA)
    def prepare(
        recipe: Recipe = None,
        overrides: Annotated[
            list[str] | None, typer.Argument(metavar="[a.b=c ...]", help="Values that replace the recipe's.")
        ] = None,
        workers: Annotated[
            int | None, typer.Option(min=1, help="Processes; all cores by default. Changes no byte.")
        ] = None,
        diff: Diff = None,
        listing: Annotated[bool, typer.Option("--list", help="Show what is in the cache.")] = False,
        cleaning: Annotated[
            bool,
            typer.Option(
                "--clean", help="Remove all that is in the cache; with a recipe, what it does not use."
            ),
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
        removed: Annotated[
            int,
            typer.Option(min=0, max=20, help="Show so many of the documents that each filter left out."),
        ] = 0,
        report: Report = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
    ) -> None:
        """Prepare tokenizer and tokens of a recipe, so that its training begins at once.

        What is there already is not made again, and a preparation that was interrupted goes on. Prints for
        each source how many documents, words, bytes, tokens and types there are, and what was left out.

        Example: model-foundry prepare demo
        Example: model-foundry prepare recipe.yaml tokenizer.vocab_size=16k --workers 4
        Example: model-foundry prepare recipe.yaml --removed 20
        Example: model-foundry prepare recipe.yaml --diff 20
        Example: model-foundry prepare recipe.yaml --report corpus.html
        Example: model-foundry prepare --list
        Example: model-foundry prepare recipe.yaml --clean
        """
        if recipe is None and not (listing or cleaning):
            raise RecipeError("prepare: name a recipe, or ask for --list or --clean.")
        if listing and cleaning:
            raise RecipeError("prepare: --list shows and --clean removes; ask for one of them.")
        if diff is not None:
            only = None if listing or cleaning else recipe
            return show_diff(only, overrides or [], diff, as_json, allow_custom_code)
        if recipe is None and report is not None:
            raise RecipeError("prepare: --report is about the corpus of a recipe; name one.")
        made = _prepare(recipe, overrides or [], workers, not as_json, allow_custom_code) if recipe else None
        if made is not None and report is not None:
            _write_page(made, report, is_shown=not as_json)
        if listing or cleaning:
            show_cache(made and made.corpus, cleaning=cleaning, yes=yes, as_json=as_json)
        elif made is not None:
            typer.echo(to_json(_facts(made, removed)) if as_json else "\n".join(_lines(made, removed)))


class _Made(NamedTuple):
    """What was prepared of which recipe."""

    corpus: PreparedCorpus
    name: str
    context: int

    def statistics(self) -> dict[str, Any]:
        from model_foundry.corpus.describing import describe_corpus

        return describe_corpus(self.corpus, self.context)


def _prepare(
    recipe: str, overrides: list[str], workers: int | None, is_shown: bool, allow_custom_code: bool
) -> _Made:
    from model_foundry.config.load import load_recipe_with_sources
    from model_foundry.running.preparing import PreparationScreen, prepare_text

    loaded = load_recipe_with_sources(recipe, overrides, allow_custom_code=allow_custom_code)
    folders = list(dict.fromkeys([loaded.path.parent, Path.cwd()]))
    about = (loaded.config.run_name, loaded.config.data.context)
    if not is_shown:
        return _Made(prepare_text(loaded.config, folders, lambda progress: None, workers=workers), *about)
    screen = PreparationScreen(typer.echo)
    try:
        return _Made(prepare_text(loaded.config, folders, screen, workers=workers), *about)
    finally:
        screen.stop()


def _write_page(made: _Made, out: Path, *, is_shown: bool) -> None:
    from model_foundry.corpus.prepared import corpus_manifest
    from model_foundry.report.corpus_page import write_corpus_page

    written = write_corpus_page(made.name, corpus_manifest(made.corpus), made.statistics(), out)
    if is_shown:
        typer.echo(f"page  {written}")


def _facts(made: _Made, removed: int) -> dict[str, Any]:
    from model_foundry.corpus.prepared import corpus_manifest, removed_of

    corpus = made.corpus
    manifest = corpus_manifest(corpus)
    for prepared, facts in zip(
        [*corpus.sources, *corpus.held_out], [*manifest["sources"], *manifest["held_out"]], strict=True
    ):
        facts["folder"] = str(prepared.folder)
        facts["steps"] = prepared.manifest.get("steps", [])
        if removed:
            facts["removed"] = removed_of(prepared, removed)
    return {"tokenizer": str(corpus.tokenizer_folder), **manifest, "statistics": made.statistics()}


def _lines(made: _Made, removed: int) -> list[str]:
    corpus = made.corpus
    sources = [*corpus.sources, *corpus.held_out]
    first = sources[0].manifest
    lines = [
        f"tokenizer  {first['tokenizer_vocab_size']:,} ids  {corpus.tokenizer_folder}",
        f"{'':<26}{'documents':>14}{'words':>16}{'bytes':>18}{'tokens':>16}",
    ]
    for source, described in zip(sources, made.statistics()["sources"], strict=True):
        lines.append(f"{source.name}  {source.folder}")
        for side, counts in source.manifest["splits"].items():
            lines.append(f"{'  ' + side:<26}" + _row(counts))
        lines += [
            f"  {side}: {told}" for side, facts in described["sides"].items() if (told := _types(facts))
        ]
        lines += _losses(source)
        lines += _removed(source, removed)
    return lines


def _row(counts: dict[str, Any]) -> str:
    widths = {"documents": 14, "words": 16, "bytes": 18, "tokens": 16}
    return "".join(f"{counts[unit]:>{width},}" for unit, width in widths.items())


def _types(facts: dict[str, Any]) -> str:
    """Say how many words and documents are different ones."""
    if "types" not in facts:
        return ""
    types, again = facts["types"], facts["duplicates"]
    about = ["about " if each["standard_error"] else "" for each in (types, again)]
    return (
        f"{about[0]}{types['number']:,} types, {types['once']:,} of them once; "
        f"{about[1]}{again['documents']:,} documents have the words of another one"
    )


def _losses(source: PreparedSource) -> list[str]:
    """Say what was read and is not there, or is there twice."""
    manifest = source.manifest
    lines = []
    if dropped := manifest["dropped"]["empty_documents"]:
        lines.append(f"  left out: {dropped:,} blank documents of {manifest['dropped']['bytes']:,} bytes")
    if manifest["cut"]["documents"]:
        lines.append("  cut: one document has its beginning in training and its end in validation")
    for step in manifest.get("steps", []):
        lost = ", ".join(f"{step[unit]['lost']:,} {unit}" for unit in ("documents", "words", "bytes"))
        about = step["filter"]["type"] if step["type"] == "filter" else step["type"]
        why = ", ".join(f"{count:,} {reason}" for reason, count in step["counts"].items())
        lines.append(f"  {about}: lost {lost}" + (f" ({why})" if why else ""))
    return lines


def _removed(source: PreparedSource, most: int) -> list[str]:
    """Show some of what the filters left out, a line each."""
    from model_foundry.corpus.prepared import removed_of

    lines = []
    for step in removed_of(source, most) if most else []:
        lines.append(f"  some of what {step['filter']['type']} left out or cut:")
        for item in step["removed"]:
            text = " ".join(item["text"].split())
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            lines.append(f"    {item['words']:,} words, {item['words_left']:,} left: {shown}")
    return lines
