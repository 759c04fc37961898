"""What every transformers-backed architecture does alike: special ids, limits, and a build without ambient randomness."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model import Vocabulary

Model = TypeVar("Model", bound="PreTrainedModel")


def special_ids(vocabulary: Vocabulary) -> dict[str, int | None]:
    """Return the tokenizer's special ids as fields of a transformers config.

    A padding id that is also the end-of-sequence id is left out: transformers would zero that token's embedding and
    never train it. Nothing is lost, since padded targets are not counted.
    """
    pad = vocabulary.pad_id if vocabulary.pad_id != vocabulary.eos_id else None
    return {"bos_token_id": vocabulary.bos_id, "eos_token_id": vocabulary.eos_id, "pad_token_id": pad}


def positions_for(context: int, positions: int | None) -> int:
    """Return how many positions the model gets: what the recipe says, else just the context.

    Raises:
        RecipeError: When the context does not fit.
    """
    if positions is None:
        return context
    if positions < context:
        raise RecipeError(
            f"model.positions: {positions} positions cannot hold a window of {context} tokens (data.context). "
            f"Raise model.positions to {context} or more, or lower data.context to {positions}."
        )
    return positions


def build_quietly(construct: Callable[[], Any]) -> Any:
    """Return ``construct()`` in training mode; the ambient random generators stay as they were.

    transformers draws initial weights from the ambient generator. They are overwritten by the recipe's own
    initialisation, and what was drawn for them must not shift anything else.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return construct().train()


def freeze_biases(model: PreTrainedModel) -> None:
    """Set every bias to zero and keep it there: no gradient, so no optimizer sees it."""
    import torch

    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter.requires_grad_(False))
