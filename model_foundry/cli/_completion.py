"""What the shell offers when Tab is pressed; nothing heavy is imported for it."""

from __future__ import annotations

from pathlib import Path


def recipe_names(incomplete: str) -> list[str]:
    """Return the shipped recipes and the recipe files here that begin so."""
    from model_foundry.config._files import built_in_recipes

    folder, _, beginning = incomplete.rpartition("/")
    here = Path(folder) if folder else Path()
    prefix = f"{folder}/" if folder else ""
    try:
        entries = sorted(here.iterdir())
    except OSError:
        entries = []
    files = [
        f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(beginning)
        and (entry.is_dir() or entry.suffix in (".yaml", ".yml"))
        and not entry.name.startswith(".")
    ]
    return [name for name in built_in_recipes() if name.startswith(incomplete)] + files
