"""The weights of an export: which ones, in which precision, and read back before anyone sees them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import CheckpointError, RecipeError, ResourceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.export import Choices
    from model_foundry.training.checkpoint_files import Checkpoint


def open_weights(source: Path, found: Checkpoint | None, choices: Choices) -> PreTrainedModel:
    """Return the model with the weights that are meant.

    Raises:
        CheckpointError: When they are not there.
        RecipeError: When the run kept another average, or the model is of no run.
    """
    import torch

    from model_foundry.running.averages import kept_average, put_average
    from model_foundry.running.loading import load_saved

    model = load_saved(source)
    if choices.average is not None:
        if found is None:
            raise RecipeError(
                f"--average {choices.average}: {source} is no checkpoint of a run, and only a run keeps an "
                "average. Leave --average out."
            )
        _require_average(found, choices.average)
        put_average(model, kept_average(found))
    if choices.dtype is not None:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[choices.dtype]
        model.to(dtype=dtype)  # type: ignore[call-arg]  # transformers hides the signature
    return model


def _require_average(found: Checkpoint, wanted: str) -> None:
    section = found.record["recipe"].get("averaging") or {}
    kept = section.get("type")
    if kept != wanted:
        raise CheckpointError(
            f"{found.path}: --average {wanted}, and its run kept {kept or 'no average'}. "
            + (f"Ask for --average {kept}." if kept else "Give its recipe a section averaging.")
        )


def save_weights(model: PreTrainedModel, folder: Path, *, shard_size: str) -> None:
    """Write weights, config and, where it generates, the settings of generation.

    Raises:
        RecipeError: When ``shard_size`` is no size.
    """
    if model.can_generate() and model.generation_config is not None:
        # else transformers 4 would take its settings from the config, which has no cache while it trains
        model.generation_config._from_model_config = False
    try:
        with _quiet():
            model.save_pretrained(folder, max_shard_size=shard_size)
    except ValueError as error:
        raise RecipeError(f"--shard-size {shard_size}: expected a size such as 5GB or 500MB.") from error


def require_read_back(model: PreTrainedModel, folder: Path) -> None:
    """Load what was written and hold it to the model, bit by bit.

    Raises:
        ResourceError: Naming the first parameter that came back otherwise.
    """
    import torch

    from model_foundry.running.loading import load_saved

    read = load_saved(folder).state_dict()
    for name, value in model.state_dict().items():
        if name not in read or not torch.equal(read[name].to(value.dtype), value):
            raise ResourceError(
                f"{folder}: {name} was written and read back as something else. Nothing is exported; check "
                "the disk, and report this where it happens again."
            )


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging as library_log

    has_bars, level = library_log.is_progress_bar_enabled(), library_log.get_verbosity()
    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    library_log.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        library_log.set_verbosity(level)
        if has_bars:
            library_log.enable_progress_bar()  # type: ignore[no-untyped-call]
