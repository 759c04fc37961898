"""A saved model read back, wherever its weights lie: whole, or in parts that several processes wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.model.loading import load_model
from model_foundry.training.checkpoint_files import SHARDED_WEIGHTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_saved(folder: Path, *, dtype: torch.dtype | None = None, strict: bool = False) -> PreTrainedModel:
    """Return the model in ``folder`` as ``model.loading`` does; weights in parts are read whole.

    Raises:
        CheckpointError: When there is no such model, or its weights are not those of its config.
    """
    return load_model(folder, dtype=dtype, weights=weights_in_parts(folder), strict=strict)


def weights_in_parts(folder: Path) -> dict[str, torch.Tensor] | None:
    """Return the weights that several processes wrote in parts, whole, where a checkpoint has no others."""
    if not (folder / SHARDED_WEIGHTS).is_dir():
        return None
    from model_foundry.training.shards import read_whole

    whole = read_whole(folder / SHARDED_WEIGHTS)
    return {name.removeprefix("model."): tensor for name, tensor in whole.items()}
