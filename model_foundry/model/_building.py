"""What every transformers-backed architecture does alike: special ids, limits, construction."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary


def special_ids(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the tokenizer's special ids as fields of a transformers config.

    A padding id that is also the end-of-sequence id is left out: transformers would zero that token's
    embedding and never train it. Nothing is lost, since padded targets are not counted.
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
            f"model.positions: {positions} positions cannot hold a window of {context} tokens "
            f"(data.context). Raise model.positions to {context} or more, "
            f"or lower data.context to {positions}."
        )
    return positions


def construct_unset(model_class: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    """Return the model in training mode with every parameter NaN, drawing nothing from any generator.

    transformers would draw initial weights from the ambient generator, twice, only for the recipe's own
    initialisation to overwrite them. NaN makes a parameter that an initialisation forgets show at once.
    """
    config._attn_implementation = "sdpa"  # what transformers' own from_config(attn_implementation=...) does
    with no_init_weights():
        model = model_class(config)
    model.tie_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    return ready(model)


def ready(model: PreTrainedModel) -> PreTrainedModel:
    """Put ``model`` in training mode: no cache while it trains, but one when its files generate text.

    Its class goes into the config, as ``save_pretrained`` would do, so that each checkpoint names it.
    """
    model.config.architectures = [type(model).__name__]
    model.config.use_cache = False
    if model.generation_config is not None:
        model.generation_config.use_cache = True
    model.train()
    return model


def freeze_biases(model: PreTrainedModel) -> None:
    """Set every bias to zero and keep it there: no gradient, so no optimizer sees it."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter.requires_grad_(False))


def refuse_unknown_activation(activation: str) -> None:
    """Complain about an activation that transformers does not have.

    Raises:
        RecipeError: Naming the nearest one that it has.
    """
    from transformers.activations import ACT2FN

    from model_foundry.parts import did_you_mean

    if activation not in ACT2FN:
        raise RecipeError(
            f"model.activation: transformers has no activation called {activation!r}."
            f"{did_you_mean(activation, list(ACT2FN))} Known: {', '.join(sorted(ACT2FN))}."
        )


def positions_of(config: PreTrainedConfig) -> int | None:
    """Return how many positions a config has, or None where the architecture sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None
