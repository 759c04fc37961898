"""What is in the cache, and what may go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from model_foundry.cli._json import to_json
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.corpus.cache_listing import Entry
    from model_foundry.corpus.prepared import PreparedCorpus


def show_cache(made: PreparedCorpus | None, *, cleaning: bool, yes: bool, as_json: bool) -> None:
    """Show what is in the cache, or remove what neither the corpus nor anybody else uses."""
    from model_foundry.corpus.cache import default_cache_folder
    from model_foundry.corpus.cache_listing import clean, in_use, list_cache

    cache = default_cache_folder().resolve()
    ours = []
    if made is not None:
        ours = [made.tokenizer_folder.parent, *(item.folder for item in [*made.sources, *made.held_out])]
    entries = list_cache(cache)
    used = in_use(entries, ours)
    removed: list[Entry] = []
    if cleaning:
        going = [entry for entry in entries if entry.path.resolve() not in used]
        size = sum(entry.num_bytes for entry in going)
        if going and not yes and not _agreed(len(going), size, cache, as_json=as_json):
            raise typer.Abort
        used = in_use(entries, ours)  # somebody may have begun to read while the question was open
        removed = [entry for entry in going if clean(entry, in_use=used)]
        entries = list_cache(cache)
    if as_json:
        shown = {"cache": str(cache), "entries": [_entry(entry, used) for entry in entries]}
        typer.echo(to_json({**shown, "removed": [_entry(entry, used) for entry in removed]}))
        return
    typer.echo(f"{cache}: {len(entries)} entries, {_size(sum(entry.num_bytes for entry in entries))}")
    for entry in entries:
        about = "  ".join(
            f"{name} {value:,}" if isinstance(value, int) else str(value)
            for name, value in entry.about.items()
        )
        state = (
            " in use" if entry.path.resolve() in used else "" if entry.state == "whole" else f" {entry.state}"
        )
        typer.echo(f"  {entry.kind}/{entry.key[:12]}{state}  {_size(entry.num_bytes)}  {about}".rstrip())
    if cleaning:
        typer.echo(f"removed {len(removed)} entries, {_size(sum(entry.num_bytes for entry in removed))}")


def _agreed(number: int, size: int, cache: Path, *, as_json: bool) -> bool:
    if as_json:
        raise RecipeError("prepare: --clean asks before it removes, and cannot with --json. Add --yes.")
    return typer.confirm(f"Remove {number} entries ({_size(size)}) from {cache}?")


def _entry(entry: Entry, used: set[Path]) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "key": entry.key,
        "state": entry.state,
        "in_use": entry.path.resolve() in used,
        "bytes": entry.num_bytes,
        "modified": entry.modified,
        "about": entry.about,
    }


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
