"""Models to be evaluated after their training: a run's checkpoints, or any folder that holds a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.evaluation import Subject
from model_foundry.manifest import ManifestError
from model_foundry.model.loading import direction_of, load_model
from model_foundry.model.ngram.folder import DESCRIPTION, load_ngram
from model_foundry.running.evaluation_files import Point
from model_foundry.training.checkpoint_files import TRAINER_STATE, published, verify_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

_POSITIONS = ("n_positions", "max_position_embeddings")
_NO_LIMIT = 1024
"""Context of a model that has no limit of its own."""


@dataclass(frozen=True)
class FoundModel:
    """A model that can be opened."""

    point: Point
    folder: Path


def find_models(path: Path, which: str = "last") -> list[FoundModel]:
    """Return the models that are meant, in the order of their training.

    Args:
        path: A run, a checkpoint, a Hugging Face folder, or an n-gram model.
        which: Of a run's checkpoints: ``last``, ``all``, ``every:N`` (each Nth, the last one too), or updates
            such as ``0,100,1000``.

    Raises:
        CheckpointError: When there is none, or one that does not hold.
        RecipeError: When ``which`` names what the run does not have.
    """
    if (path / "config.json").is_file() or (path / DESCRIPTION).is_file():
        return [FoundModel(_point(path), path)]
    found = published(path / "checkpoints")[::-1]
    if not found:
        raise CheckpointError(
            f"{path}: neither a run with checkpoints nor a folder with config.json or {DESCRIPTION}. Name "
            "one of them."
        )
    return [FoundModel(_point(checkpoint), checkpoint) for checkpoint in _chosen(path, found, which)]


def _chosen(run: Path, found: Sequence[Path], which: str) -> list[Path]:
    kind, _, number = which.partition(":")
    if which in ("last", "all"):
        return list(found if which == "all" else found[-1:])
    if kind == "every" and number.isdecimal() and int(number):
        step = int(number)
        return [path for place, path in enumerate(found) if place % step == 0 or path is found[-1]]
    updates = [part.strip() for part in which.split(",")]
    if not all(update.isdecimal() for update in updates):
        raise RecipeError(
            f"--checkpoints {which}: expected last, all, every:N or updates such as 0,100,1000."
        )
    by_name = {path.name: path for path in found}
    missing = [update for update in updates if f"checkpoint-{int(update)}" not in by_name]
    if missing:
        known = ", ".join(path.name.removeprefix("checkpoint-") for path in found)
        raise RecipeError(
            f"--checkpoints {which}: {run} has no checkpoint {', '.join(missing)}; it has {known}."
        )
    return [by_name[f"checkpoint-{number}"] for number in sorted({int(update) for update in updates})]


def _point(folder: Path) -> Point:
    if not (folder / TRAINER_STATE).is_file():
        return Point(folder.name or folder.resolve().name)
    try:
        record = verify_checkpoint(folder).record
    except (ManifestError, OSError) as error:
        raise CheckpointError(f"{folder}: does not hold: {error}. Name another checkpoint.") from error
    return Point(folder.name, record["updates"], record["tokens"], record["words"])


def open_subject(folder: Path) -> Subject:
    """Return the model of a folder with its tokenizer, without any text, on the GPU where there is one.

    Raises:
        CheckpointError: When it cannot be loaded.
        DataError: When its tokenizer cannot.
    """
    encoder = TextEncoder(folder)
    if (folder / DESCRIPTION).is_file():
        ngram = load_ngram(folder)
        return Subject(ngram, torch.device("cpu"), encoder, held_out={}, context=_NO_LIMIT)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(folder, dtype=torch.float32)
    positions = [getattr(model.config, name, None) for name in _POSITIONS]
    return Subject(
        model.to(device),  # type: ignore[arg-type]  # transformers hides nn.Module's signature of to
        device,
        encoder,
        held_out={},
        context=next((number for number in positions if number), _NO_LIMIT),
        direction=direction_of(model),
    )
