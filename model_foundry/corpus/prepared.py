"""What preparation leaves: the folders of a corpus and what their manifests say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_foundry.corpus.cache import digest_of, read_manifest
from model_foundry.corpus.holding import Holds
from model_foundry.errors import DataError

FORMAT = 1
"""Of manifests and shards; part of every key, so that another format never meets these files."""

REMOVED = "removed.json"
"""Holds some of the documents that each filter left out or changed."""


@dataclass(frozen=True)
class PreparedSource:
    """One source as tokens."""

    name: str
    """What this run calls it, such as ``text_files-0``; other runs may call the same folder otherwise."""

    folder: Path
    """Holds ``manifest.json``, ``train/`` and ``validation/``, as far as there is anything on that side."""

    manifest: dict[str, Any]
    """As on disk, and the ``name``."""


@dataclass(frozen=True)
class PreparedCorpus:
    """Everything that training reads."""

    tokenizer_folder: Path
    """Loads with AutoTokenizer and with TextEncoder."""

    sources: list[PreparedSource]
    """The sources of the recipe, in order."""

    held_out: list[PreparedSource]
    """The sources of ``validation.sources``, whose text is all on the validation side; else none."""

    holds: Holds | None = field(default=None, repr=False, compare=False)
    """Keeps its entries from being cleaned while it lives."""


def open_prepared(folder: Path, *, name: str = "", verify: bool = False) -> PreparedSource:
    """Open the folder of one prepared source.

    Args:
        folder: Was written by ``prepare_corpus``.
        name: What to call it; the default is the type of the source.
        verify: Read all files and compare their hashes, not their sizes alone.

    Raises:
        DataError: When it is not complete or not as it was written, naming the file.
    """
    manifest = read_manifest(folder, verify=verify)
    if manifest.get("format") != FORMAT or "splits" not in manifest:
        raise DataError(
            f"{folder}: is not a prepared source of format {FORMAT} (format {manifest.get('format')!r}). "
            "Remove the folder; it is then prepared again."
        )
    name = name or str(manifest["source"]["type"])
    return PreparedSource(name=name, folder=folder, manifest={**manifest, "name": name})


def removed_of(source: PreparedSource, most: int) -> list[dict[str, Any]]:
    """Return for each filter of a source at most so many of the documents that it left out or changed."""
    path = source.folder / REMOVED
    steps = json.loads(path.read_text(encoding="ascii")) if path.is_file() else []
    return [{**step, "removed": step["removed"][:most]} for step in steps]


def corpus_manifest(prepared: PreparedCorpus) -> dict[str, Any]:
    """Return what a run keeps about its corpus: no machine's paths, and a digest that identifies the data.

    The digest covers inputs, split and tokenizer of all sources in order; it is equal exactly when the
    tokens are.
    """
    sources = [_summary(source) for source in prepared.sources]
    held_out = [_summary(source) for source in prepared.held_out]
    identity = [[item["key"] for item in sources], [item["key"] for item in held_out]]
    first = (prepared.sources or prepared.held_out)[0].manifest
    return {
        "format": FORMAT,
        "digest": digest_of(identity),
        "tokenizer_sha256": first["tokenizer_sha256"],
        "tokenizer_vocab_size": first["tokenizer_vocab_size"],
        "sources": sources,
        "held_out": held_out,
    }


def _summary(source: PreparedSource) -> dict[str, Any]:
    kept = ("name", "key", "source", "split", "inputs", "dropped", "cut")
    summary = {key: source.manifest[key] for key in kept}
    if source.manifest.get("steps"):
        summary["steps"] = source.manifest["steps"]
    sides = source.manifest["splits"].items()
    summary["splits"] = {
        side: {key: value for key, value in counts.items() if key != "shards"} for side, counts in sides
    }
    return summary
