"""Which saved model a person means: a folder of its own, or a run's last, best, numbered or named one."""

from __future__ import annotations

from pathlib import Path

from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.manifest import MANIFEST_NAME, ManifestError
from model_foundry.model.ngram.folder import DESCRIPTION
from model_foundry.training.aliases import read_aliases
from model_foundry.training.best import read_best
from model_foundry.training.checkpoint_files import (
    TRAINER_STATE,
    Checkpoint,
    checkpoint_name,
    published,
    verify_checkpoint,
)


def choose_model(path: Path, which: str = "last") -> Path:
    """Return the folder of the model that is meant; nothing in it is verified.

    Args:
        path: A run, one of its checkpoints, a Hugging Face folder, or an n-gram model.
        which: Of a run's checkpoints: ``last``, ``best``, updates such as ``100``, or an alias.

    Raises:
        CheckpointError: When there is none.
        RecipeError: When ``which`` names what the run does not have, or no run is there to choose from.
    """
    if (path / "config.json").is_file() or (path / DESCRIPTION).is_file():
        if which != "last":
            raise RecipeError(
                f"--checkpoint {which}: {path} is a model itself, and only a run has checkpoints to choose "
                "from. Leave --checkpoint out, or name the run."
            )
        return path
    folder = path / "checkpoints"
    found = published(folder)
    if not found:
        raise CheckpointError(
            f"{path}: neither a run with checkpoints nor a folder with config.json or {DESCRIPTION}. Name "
            "one of them."
        )
    if which == "last":
        return found[0]
    if which == "best":
        return best_checkpoint(path)
    aliases = read_aliases(folder)
    name = checkpoint_name(int(which)) if which.isdecimal() else aliases.get(which, which)
    if folder / name not in found:
        known = [one.name.removeprefix("checkpoint-") for one in reversed(found)]
        raise RecipeError(
            f"--checkpoint {which}: {path} has no such checkpoint. Expected last, best, or one of "
            f"{', '.join([*known, *aliases])}."
        )
    return folder / name


def verified(source: Path, consequence: str) -> Checkpoint | None:
    """Return the checkpoint, every byte of it checked; None for a model that is none of a run.

    Args:
        source: A model's folder.
        consequence: What follows where it does not hold, for the message.

    Raises:
        CheckpointError: When it does not hold.
    """
    if not (source / TRAINER_STATE).is_file() and not (source / MANIFEST_NAME).is_file():
        return None
    try:
        return verify_checkpoint(source)
    except (ManifestError, OSError) as error:
        raise CheckpointError(
            f"{source}: does not hold, so {consequence}: {error}. Restore it from a copy, or choose another."
        ) from error


def best_checkpoint(run: Path) -> Path:
    """Return the checkpoint that was the best by the measure of ``checkpoints.best``.

    Raises:
        CheckpointError: When the run names none.
    """
    best = read_best(run / "checkpoints")
    if best is None:
        raise CheckpointError(
            f"{run}: no best checkpoint is named there. A run names one where a checkpoint falls on an "
            "evaluation that measures what checkpoints.best.by says (by default the held-out loss). Name "
            "another, such as last."
        )
    return run / "checkpoints" / best.checkpoint
