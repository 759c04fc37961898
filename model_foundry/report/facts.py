"""What the files of a run's folder say, torn lines and missing files being normal."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.errors import RunDirectoryError
from model_foundry.training.best import read_best

Line = dict[str, Any]

CLOCK = ("update", "tokens", "words", "bytes", "documents", "epoch", "time")
"""Keys of a line that say when, not what."""


@dataclass(frozen=True)
class RunFacts:
    """A run as its folder tells it; what is not there is empty."""

    path: Path
    status: Line
    plan: Line
    environment: Line
    corpus: Line
    statistics: Line
    """Of the corpus."""

    recipe: str
    """The resolved recipe as YAML."""

    overrides: str
    updates: list[Line]
    """Lines of ``metrics.jsonl`` that tell of an update, in its order."""

    evaluations: list[Line]
    """Lines of ``metrics.jsonl`` that tell of a measurement, with the clock of that moment."""

    events: list[Line]
    samples: list[Line]
    checkpoints: list[Line]
    """Name, updates, bytes, whether it can be resumed from, and whether it is the best so far."""

    best: Line
    """What ``checkpoints/best.json`` names: checkpoint, update, by, mode, value."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name


def read_run(path: Path) -> RunFacts:
    """Return the facts of the run in ``path``.

    Raises:
        RunDirectoryError: When no run is there.
    """
    if not (path / "recipe.resolved.yaml").is_file() and not (path / "status.json").is_file():
        raise RunDirectoryError(
            f"{path}: no run is there (neither recipe.resolved.yaml nor status.json). Name a run's folder, "
            "such as runs/demo.",
            reason="recipe",
        )
    lines = read_lines(path / "metrics.jsonl")
    return RunFacts(
        path=path,
        status=_read_object(path / "status.json"),
        plan=_read_object(path / "plan.json"),
        environment=_read_object(path / "environment.json"),
        corpus=_read_object(path / "corpus.manifest.json"),
        statistics=_read_object(path / "corpus.statistics.json"),
        recipe=_read_text(path / "recipe.resolved.yaml"),
        overrides=_read_text(path / "overrides.txt"),
        updates=[line for line in lines if "loss" in line],
        evaluations=[line for line in lines if "loss" not in line],
        events=read_lines(path / "events.jsonl"),
        samples=read_lines(path / "samples.jsonl"),
        checkpoints=_checkpoints(path / "checkpoints"),
        best=best.as_json() if (best := read_best(path / "checkpoints")) is not None else {},
    )


def read_lines(path: Path) -> list[Line]:
    """Return the JSON objects of a file, one a line; a torn or foreign line is passed over."""
    found = []
    for text in _read_text(path).splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def measures_of(line: Line) -> dict[str, float]:
    """Return what an evaluation's line measured: ``perplexity/loss`` and the like."""
    return {key: value for key, value in line.items() if "/" in key and isinstance(value, int | float)}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_object(path: Path) -> Line:
    try:
        found = json.loads(_read_text(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _checkpoints(folder: Path) -> list[Line]:
    found: list[Line] = []
    best = read_best(folder)
    for path in folder.glob("checkpoint-*") if folder.is_dir() else ():
        number = path.name.removeprefix("checkpoint-")
        if number.isdecimal() and (path / "MANIFEST.json").is_file():
            found.append(
                {
                    "name": path.name,
                    "updates": int(number),
                    "bytes": _size(path),
                    "resumable": (path / "state").is_dir(),
                    "best": best is not None and best.checkpoint == path.name,
                }
            )
    return sorted(found, key=lambda item: item["updates"])


def _size(folder: Path) -> int:
    """Return the bytes of a folder; a run may just be removing it."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size if file.is_file() else 0
    return size
