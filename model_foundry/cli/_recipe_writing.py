"""``model-foundry recipe copy`` and ``init``: a recipe of one's own, with the schema for editors."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from model_foundry.cli._completion import recipe_names
from model_foundry.errors import RecipeError

_STARTER = "recipe.yaml"
_NO_EDITOR = Annotated[
    bool, typer.Option("--no-schema", help="Without the JSON Schema and the line that names it.")
]


def add_to(group: typer.Typer) -> None:
    """Give the group its verbs."""
    group.command("copy")(_copy)
    group.command("init")(_init)


def _copy(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A shipped recipe's name, or a file.", autocompletion=recipe_names
        ),
    ],
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DEST] [a.b=c]...", help="The file or folder to write (NAME.yaml here); new values."
        ),
    ] = None,
    no_schema: _NO_EDITOR = False,
    allow_custom_code: Annotated[
        bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
    ] = False,
) -> None:
    """Copy a recipe to begin from, comments kept and new values in their places; nothing is overwritten.

    Example: model-foundry recipe copy gpt2_124m

    Example: model-foundry recipe copy demo my.yaml model.layers=6 training.duration="2000 updates"
    """
    from model_foundry.config.edit import edited_text
    from model_foundry.config.load import load_recipe_with_sources

    words = list(rest or [])
    named = words.pop(0) if words and "=" not in words[0] else f"{Path(recipe).stem}.yaml"
    target = Path(named)
    if target.is_dir():
        target = target / f"{Path(recipe).stem}.yaml"
    _refuse_to_overwrite(target)
    loaded = load_recipe_with_sources(recipe, words, allow_custom_code=allow_custom_code)
    _write(target, edited_text(loaded), with_schema=not no_schema)
    changed = f", {len(words)} value{'s' if len(words) > 1 else ''} changed" if words else ""
    typer.echo(f"{target}: a copy of {recipe}{changed}")
    _say_what_next(target)


def _init(
    target: Annotated[Path, typer.Argument(metavar="[FILE]", help="The recipe to write.")] = Path(_STARTER),
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="PATTERN", help="Files of text, texts/*.txt; once for each."),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="causal_lm (text is continued) or masked_lm (gaps are filled).")
    ] = None,
    size: Annotated[str | None, typer.Option(help="tiny, small or base.")] = None,
    duration: Annotated[
        str | None, typer.Option(help="Length of the run, such as 10 epochs or 2000 updates.")
    ] = None,
    context: Annotated[int, typer.Option(min=2, help="Tokens a window.")] = 256,
    name: Annotated[str | None, typer.Option(help="Name of the run (that of the file).")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, even on a terminal.")] = False,
    no_schema: _NO_EDITOR = False,
) -> None:
    """Write a first recipe for your own text, with a comment on every choice; nothing is overwritten.

    On a terminal it asks what the options leave open. Beside it stands the JSON Schema by which editors
    complete keys and mark mistakes.

    Example: model-foundry recipe init my.yaml --text "texts/*.txt" --size small
    """
    from model_foundry.config.load import load_recipe
    from model_foundry.config.starter import SIZES, Objective, source_of, starter

    _refuse_to_overwrite(target)
    ask = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    patterns = text or _asked(ask, "Text files (a path or pattern)", "texts/*.txt").split()
    kinds = get_args(Objective)
    chosen = objective or _asked(ask, f"Objective ({' or '.join(kinds)})", "causal_lm")
    sizes = "; ".join(f"{key}: {value.text}" for key, value in SIZES.items())
    size = size or _asked(ask, f"Size ({sizes})", "tiny")
    duration = duration or _asked(ask, "Length of the run", "10 epochs")
    _require("--objective", chosen, kinds)
    _require("--size", size, SIZES)
    named = name or re.sub(r"[^A-Za-z0-9._-]+", "-", target.stem).strip("-._") or "run"
    # The answers are held to what overrides are held to, before anything is written.
    load_recipe("demo", [f"training.duration={duration}", f"data.context={context}", f"name={named}"])
    content = starter(
        str(target),
        name=named,
        sources=[source_of(pattern, _relative(pattern, target)) for pattern in patterns],
        objective=cast("Objective", chosen),
        size=size,
        duration=duration,
        context=context,
    )
    _write(target, content, with_schema=not no_schema)
    typer.echo(f"{target}: a recipe for {', '.join(patterns)}")
    for pattern in patterns:
        typer.echo(f"  {_found(pattern)}")
    _say_what_next(target)


def _asked(ask: bool, question: str, default: str) -> str:
    return str(typer.prompt(question, default=default)) if ask else default


def _require(option: str, value: str, known: Any) -> None:
    if value not in known:
        raise RecipeError(f"{option} {value}: expected {', '.join(known)}.")


def _relative(pattern: str, target: Path) -> str:
    """Return a pattern as it must stand in the recipe, whose folder is looked in first."""
    return os.path.relpath(pattern, target.parent) if target.parent != Path() else pattern


def _found(pattern: str) -> str:
    from model_foundry.config.starter import matching

    files = matching(pattern)
    if not files:
        return f"{pattern}: no such file yet; put text there, or change corpus.sources"
    size = sum(os.path.getsize(file) for file in files)
    amount = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
    return f"{pattern}: {len(files):,} file{'s' if len(files) > 1 else ''}, {amount}"


def _refuse_to_overwrite(target: Path) -> None:
    if target.is_dir() or os.path.lexists(target):
        raise RecipeError(f"{target}: is there already, and stays as it is. Name another file, or remove it.")


def _write(target: Path, content: str, *, with_schema: bool) -> None:
    from model_foundry.config.json_schema import recipe_schema
    from model_foundry.config.starter import SCHEMA_FILE, SCHEMA_FOLDER, editor_line

    has_line = "yaml-language-server:" in content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="") as file:  # never one that appeared meanwhile
            file.write(content if has_line or not with_schema else editor_line() + content)
        if with_schema:
            folder = target.parent / SCHEMA_FOLDER
            folder.mkdir(exist_ok=True)
            (folder / SCHEMA_FILE).write_text(json.dumps(recipe_schema(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{target}: cannot be written: {error.strerror}. Name another place.") from error


def _say_what_next(target: Path) -> None:
    typer.echo(f"  model-foundry check {target}")
    typer.echo(f"  model-foundry train {target}")
