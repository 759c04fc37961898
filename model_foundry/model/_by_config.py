"""Builds a model of transformers from the name of its config class and values for its fields."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import configuration_auto
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.model._building import positions_of, ready, rows_for, special_ids
from model_foundry.parts import did_you_mean

OWNED = {
    "bos_token_id": "the tokenizer sets the special ids",
    "eos_token_id": "the tokenizer sets the special ids",
    "pad_token_id": "the tokenizer sets the special ids",
    "use_cache": "training never uses a cache, and generation always does",
}

SLOW_GELU, ONE_KERNEL_GELU = "gelu_new", "gelu_pytorch_tanh"
"""GELU by tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2), as a formula and as one kernel."""

LEAK = 1e-5  # a narrow encoder at its initial weights comes to about 1e-3
"""Change of earlier logits, relative to those of the changed token, that rounding cannot explain."""


def build(
    name: str, fields: dict[str, Any], vocabulary: Vocabulary, context: int, *, masked: bool
) -> PreTrainedModel:
    """Return the model in training mode, in float32; the ambient generator stays as it was.

    Raises:
        RecipeError: When the class, a field or a value is wrong, or the context or vocabulary does not fit.
    """
    config_class = _find(name, masked=masked)
    known = {field.name for field in dataclasses.fields(config_class)}
    known -= {field.name for field in dataclasses.fields(PreTrainedConfig)}
    known |= set(config_class.attribute_map)
    if "vocab_size" not in known:
        raise RecipeError(
            f"model.config: {name} describes more than a text model (it has no vocab_size of its own). "
            "Name the config class of its text part."
        )
    for key in fields:
        _check_field(name, key, known)
    size = fields.get("vocab_size", vocabulary.size)
    fields["vocab_size"] = rows_for(vocabulary, size) if isinstance(size, int) else size
    if "is_decoder" in known:
        fields.setdefault("is_decoder", not masked)
    factory = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    try:
        config = config_class(**fields, **special_ids(vocabulary))
        for key, value in config.to_dict().items():
            if value == SLOW_GELU and key not in fields:  # nobody chose it; config.json tells what it became
                setattr(config, key, ONE_KERNEL_GELU)
        with torch.random.fork_rng(devices=[]):
            model: PreTrainedModel = factory.from_config(config)  # type: ignore[no-untyped-call]
            _check_context(name, model, context)
            if model.device.type != "meta":
                _check_direction(model, vocabulary.size, masked=masked)
    except RecipeError:
        raise
    except Exception as error:  # config and model classes raise whatever they like for values they cannot use
        raise RecipeError(f"model: transformers cannot build a model from this {name}: {error}") from error
    return ready(model)


def _find(name: str, *, masked: bool) -> type[PreTrainedConfig]:
    names: dict[str, str] = configuration_auto.CONFIG_MAPPING_NAMES  # type: ignore[attr-defined]
    kinds = MODEL_FOR_MASKED_LM_MAPPING_NAMES if masked else MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    types = {names[kind]: kind for kind in kinds if kind in names}
    head, example = ("masked", "ElectraConfig") if masked else ("causal", "LlamaConfig")
    if name not in types:
        raise RecipeError(
            f"model.config: transformers has no {head} language model for {name!r}."
            f"{did_you_mean(name, list(types))} Expected the name of a config class such as {example}."
        )
    found: type[PreTrainedConfig] = configuration_auto.CONFIG_MAPPING[types[name]]
    return found


def _check_field(name: str, key: str, known: set[str]) -> None:
    if key in OWNED:
        raise RecipeError(f"model.{key}: not for the recipe to set: {OWNED[key]}. Leave it out.")
    if key not in known:
        raise RecipeError(
            f"model.{key}: {name} has no field of that name.{did_you_mean(key, sorted(known))} "
            f"Known: {', '.join(sorted(known - set(OWNED)))}."
        )


def _check_context(name: str, model: PreTrainedModel, context: int) -> None:
    config = model.config
    positions = positions_of(config)
    for path, module in model.named_modules():  # RoBERTa and its heirs begin to count after the padding id
        if path.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            positions = module.num_embeddings - offset
    if positions is not None and positions < context:
        key = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
        raise RecipeError(
            f"model.{key}: the {positions} positions of this {name} cannot hold a window of {context} tokens "
            f"(data.context). Raise it by {context - positions} or more, "
            f"or lower data.context to {positions}."
        )


def _check_direction(model: PreTrainedModel, vocabulary: int, *, masked: bool) -> None:
    """Hold the model to what its head says: whether logits change when only a later token does."""
    model.train(False)
    ids_BT = torch.arange(8)[None] % vocabulary
    other_BT = ids_BT.clone()
    other_BT[0, -1] = (other_BT[0, -1] + 1) % vocabulary
    with torch.no_grad():
        logits_BTV, other_BTV = (model(input_ids=ids, use_cache=False).logits for ids in (ids_BT, other_BT))
    change_T = (logits_BTV - other_BTV).abs().amax(dim=(0, 2))
    looks_ahead = bool(change_T[:-1].max() > LEAK * change_T[-1])
    if masked and not looks_ahead:
        raise RecipeError(
            f"model: {type(model).__name__} looks back only: changing a token left the logits before it as "
            "they were. Choose an encoder, set is_decoder to false where the config has it, or write "
            "head: causal."
        )
    if looks_ahead and not masked:
        raise RecipeError(
            f"model: {type(model).__name__} sees the tokens that it is to predict: changing a token changed "
            "the logits before it. Choose a decoder, set is_decoder to true where the config has it, or "
            "write head: masked."
        )
