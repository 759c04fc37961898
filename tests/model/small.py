"""A small model of every architecture that ships: the folder is walked, so a new file is tested unasked."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter
from transformers import PreTrainedModel

from model_foundry.model import Architecture, Vocabulary
from model_foundry.model.initialization import Initialization
from model_foundry.parts import PartOf, find_part, known_parts

VOCABULARY = Vocabulary(size=50, bos_id=2, eos_id=0, pad_id=1)
CONTEXT = 16
TINY = {
    "layers": 2,
    "width": 32,
    "hidden": 32,
    "heads": 4,
    "feed_forward": 48,
    "experts": 4,
    "experts_per_token": 2,
}
FURTHER: dict[str, dict[str, Any]] = {
    "llama": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2, "head_dim": 16},
    "gpt_bert": {"position_buckets": 4},
    "ltg_bert": {"position_buckets": 4},
    "gru": {"embedding": 16},
    "rnn": {"tie_embeddings": False},
    "mamba": {"state": 4},
    "mamba2": {"head_dim": 16, "state": 8, "chunk": 8},
    "modernbert": {"layers": 3, "local_attention": 4},
}
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
CONFIGS: dict[str, dict[str, Any]] = {
    "LlamaConfig": SIZES,
    "Gemma3TextConfig": {**SIZES, "head_dim": 8, "num_key_value_heads": 2},
    "ModernBertDecoderConfig": SIZES,
    "MixtralConfig": {**SIZES, "num_local_experts": 4, "num_key_value_heads": 2},
    "NanoChatConfig": SIZES,
    "RobertaConfig": SIZES,
    "BloomConfig": {"n_layer": 2, "hidden_size": 32, "n_head": 4},
}
MASKED_CONFIGS: dict[str, dict[str, Any]] = {
    "BertConfig": SIZES,
    "ElectraConfig": {**SIZES, "embedding_size": 32},
}


def small(name: str) -> dict[str, Any]:
    """Return a section for the architecture called ``name`` with what it requires, in tiny.

    One that requires a field that no other has brings it in ``TINY`` or ``FURTHER``.
    """
    fields = find_part(Architecture, name).model_fields
    required = [key for key, field in fields.items() if field.is_required()]
    return {"type": name, **{key: TINY[key] for key in required}, **FURTHER.get(name, {})}


OWN = [name for name in known_parts(Architecture) if name != "transformers"]
ATTENDING = [name for name in OWN if "attention" in find_part(Architecture, name).model_fields]
SMALL: dict[str, dict[str, Any]] = {
    **{name: small(name) for name in OWN},
    "gpt2 without biases": {**small("gpt2"), "bias": False},
    **{name: {"type": "transformers", "config": name, **fields} for name, fields in CONFIGS.items()},
    **{
        f"{name} masked": {"type": "transformers", "config": name, "head": "masked", **fields}
        for name, fields in MASKED_CONFIGS.items()
    },
}


def architecture(section: dict[str, Any]) -> Architecture:
    """Return the part that a section of a recipe describes."""
    return TypeAdapter(PartOf[Architecture]).validate_python(section)


def looking(*directions: str) -> list[str]:
    """Return the names of those that look in one of ``directions``."""
    return [name for name, section in SMALL.items() if architecture(section).direction in directions]


def build(
    section: dict[str, Any], vocabulary: Vocabulary = VOCABULARY, context: int = CONTEXT
) -> PreTrainedModel:
    """Return the model of a section, not initialised."""
    return architecture(section).build(vocabulary, context)


def initialized(
    section: dict[str, Any],
    vocabulary: Vocabulary = VOCABULARY,
    *,
    context: int = CONTEXT,
    factor: float = 1.0,
) -> PreTrainedModel:
    """Return the model as a recipe would begin with it, in evaluation mode.

    Args:
        section: The architecture.
        vocabulary: Of the tokenizer.
        context: Tokens a window.
        factor: Matrices are multiplied by it; by 10, a leak shows far above rounding.
    """
    model = build(section, vocabulary, context)
    default = architecture(section).default_initialization()
    part = TypeAdapter(PartOf[Initialization]).validate_python(default)
    part.initialize(model, torch.Generator().manual_seed(5))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and not name.endswith("A_log"):
                parameter.mul_(factor)
    return model.eval()


def logits_of(model: PreTrainedModel, ids_BT: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
    """Return the logits (B, T, V) of ids, without a gradient."""
    with torch.no_grad():
        logits_BTV: torch.Tensor = model(input_ids=ids_BT, use_cache=False, **more).logits
    return logits_BTV


def random_ids(*shape: int, low: int = 3, high: int = 50) -> torch.Tensor:
    """Return ids from ``low`` up to ``high``, always the same for a shape."""
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(7))
