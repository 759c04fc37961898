"""From patterns of files to the items of all of them, in a fixed order, with a digest of their content."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from model_foundry.errors import DataError
from model_foundry.evaluation import formats
from model_foundry.evaluation.formats import Item
from model_foundry.parts import did_you_mean

_HELPERS = {"formula"}
_SUFFIXES = {".jsonl", ".json", ".tsv", ".csv", ".txt"}


def read_items(
    patterns: str | Sequence[str],
    format_name: str,
    names: Mapping[str, str],
    limit: int | None,
    folders: list[Path],
) -> tuple[list[Item], str]:
    """Return the items, and a digest of the files' bytes and names.

    Raises:
        DataError: When a pattern matches nothing, the format is unknown, or a file is malformed.
    """
    known = sorted({name for _, name, _ in pkgutil.iter_modules(formats.__path__)} - _HELPERS)
    if format_name not in known:
        raise DataError(
            f"minimal pairs: no format is called {format_name!r}.{did_you_mean(format_name, known)} "
            f"Known: {', '.join(known)}."
        )
    if names and format_name != "pairs":
        raise DataError(f"minimal pairs: fields are named for format pairs alone, and this is {format_name}.")
    read = importlib.import_module(f"{formats.__name__}.{format_name}").read
    digest = hashlib.sha256(f"{format_name}\0{limit}".encode())
    items: list[Item] = []
    counts: Counter[str] = Counter()
    for path in files_of([patterns] if isinstance(patterns, str) else patterns, folders):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        for item in read(path, names):
            counts[item.paradigm] += 1
            if limit is None or counts[item.paradigm] <= limit:
                items.append(item)
    if not items:
        raise DataError(f"minimal pairs: there is no item in {patterns}.")
    return items, digest.hexdigest()


def files_of(patterns: Sequence[str], folders: list[Path]) -> list[Path]:
    """Return the files that patterns match, sorted by name within each, none twice.

    Raises:
        DataError: When one matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches: list[Path] = []
        for folder in folders or [Path.cwd()]:
            matches = _matches(pattern, folder)
            if matches:
                break
        if not matches:
            looked = ", ".join(map(str, dict.fromkeys(folders)))
            raise DataError(f"{pattern}: no such file or pattern in {looked}. Name files that are there.")
        found |= dict.fromkeys(matches)
    return list(found)


def _matches(pattern: str, folder: Path) -> list[Path]:
    path = (folder / pattern).absolute()  # an absolute pattern stays as it is
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.is_file() and entry.suffix in _SUFFIXES)
    if path.is_file():
        return [path]
    root = Path(path.anchor)
    return sorted(entry for entry in root.glob(str(path.relative_to(root))) if entry.is_file())
