"""What every transformers-backed architecture does alike: special ids, limits, construction."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary

if TYPE_CHECKING:
    from model_foundry.model._fields import Heads, RotaryDecoder

_log = logging.getLogger(__name__)


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


def rows_for(vocabulary: Vocabulary, rows: int | None) -> int:
    """Return the rows of the embedding: what the recipe says, else the tokenizer's entries.

    Raises:
        RecipeError: When the tokenizer has more.
    """
    if rows is None:
        return vocabulary.size
    if rows < vocabulary.size:
        raise RecipeError(
            f"model.vocab_size: {rows} is less than the {vocabulary.size} entries of the tokenizer. "
            f"Leave it out, or give {vocabulary.size} or more."
        )
    return rows


def sizes(model: Heads, vocabulary: Vocabulary, context: int) -> dict[str, Any]:
    """Return what nearly all configs call alike: sizes, limits and special ids."""
    return {
        "vocab_size": rows_for(vocabulary, model.vocab_size),
        "max_position_embeddings": positions_for(context, model.positions),
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": model.feed_forward or 4 * model.width,
        **special_ids(vocabulary),
    }


def rotary(model: RotaryDecoder, vocabulary: Vocabulary, context: int) -> dict[str, Any]:
    """Return what the configs of Llama-like decoders call alike, all but the norms."""
    return {
        **sizes(model, vocabulary, context),
        "intermediate_size": model.feed_forward or -(-model.width * 8 // 96) * 32,
        "num_key_value_heads": model.kv_heads or model.heads,
        "attention_dropout": model.dropout,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "tie_word_embeddings": model.tie_embeddings,
    }


def construct_unset(
    model_class: type[PreTrainedModel], config: Any, attention: str = "eager"
) -> PreTrainedModel:
    """Return the model in training mode with every parameter NaN, drawing nothing from any generator.

    transformers would draw initial weights from the ambient generator, twice, only for the recipe's own
    initialisation to overwrite them. NaN makes a parameter that an initialisation forgets show at once.

    Raises:
        RecipeError: When this class or this machine does not have the kernel of ``attention``.
    """
    require_attention(attention, model_class)
    config._attn_implementation = attention  # as transformers' own from_config(attn_implementation=...) does
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
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.use_cache = True
    model.train()
    return model


def require_attention(attention: str, model_class: type[PreTrainedModel]) -> None:
    """Complain about a kernel that cannot train ``model_class`` here.

    Raises:
        RecipeError: Naming what to install, or what to use instead.
    """
    from transformers.utils import import_utils

    is_flash = attention.startswith("flash_attention")
    flag = f"_supports_{'flash_attn' if is_flash else attention.replace('_attention', '_attn')}"
    if attention != "eager" and not getattr(model_class, flag):
        raise RecipeError(
            f"model.attention: transformers has no {attention} for {model_class.__name__}. "
            "Leave it out, or write eager."
        )
    package = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3"}.get(attention)
    installed = {
        "flash_attention_2": import_utils.is_flash_attn_2_available,
        "flash_attention_3": import_utils.is_flash_attn_3_available,
    }
    if package and not installed[attention]():
        raise RecipeError(
            f"model.attention: {attention} needs the package {package} and a GPU that it supports, and does "
            f"not find both. Install {package}, or leave model.attention at sdpa."
        )
    if attention == "flex_attention" and not torch.accelerator.is_available():
        raise RecipeError(
            "model.attention: torch has no backward pass of flex_attention on the CPU, only the forward one. "
            "Train on a GPU, or leave model.attention at sdpa."
        )


def warn_of_slow_scan(model: PreTrainedModel) -> None:
    """Say so where a state-space model would train without its kernels; not of one that is only counted."""
    from transformers.utils import import_utils

    missing = [
        package
        for package, is_there in {
            "mamba-ssm": import_utils.is_mamba_ssm_available,
            "causal-conv1d": import_utils.is_causal_conv1d_available,
        }.items()
        if not is_there()
    ]
    if missing and model.device.type != "meta":
        _log.warning(
            "%s: %s not found (or no GPU for it), so its state is computed in plain torch, many times slower "
            "than attention of that size; Mamba goes token by token, Mamba-2 by chunks.",
            type(model).__name__,
            " and ".join(missing),
        )


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
