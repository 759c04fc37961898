"""Small models of every kind of architecture, their parameters NaN, for the tests of initialisations."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

LAYERS, WIDTH, FEED_FORWARD, VOCABULARY = 2, 64, 96, 512
_SIZES = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "num_attention_heads": 4,
    "intermediate_size": FEED_FORWARD,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "head_dim": 16}
_FIELDS: dict[str, dict[str, Any]] = {
    "GPTNeoX": {},
    "Llama": {"num_key_value_heads": 2},
    "Olmo": {},
    "Olmo2": {},
    "Qwen3Moe": {**_EXPERTS, "num_key_value_heads": 2},
    "Olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "Mamba": {"state_size": 8},
    "Mamba2": {"state_size": 8, "num_heads": 16, "head_dim": 8, "n_groups": 1, "chunk_size": 16},
    "Bert": {},
    "Roberta": {"pad_token_id": 1},
    "ModernBert": {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 1},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
}
MASKED = ("Bert", "Roberta", "ModernBert", "DebertaV2")
STATE_SPACE = ("Mamba", "Mamba2")
NAMES = list(_FIELDS)


def unset(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with NaN in every parameter: what an initialisation forgets shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    return model


def build(name: str, **fields: Any) -> PreTrainedModel:
    """Return a model by the name of its config class, without ``Config``."""
    sizes = {**_SIZES, **_FIELDS[name], **fields}
    if name in STATE_SPACE:
        del sizes["num_attention_heads"], sizes["intermediate_size"]
    config = getattr(transformers, f"{name}Config")(**sizes)
    factory = AutoModelForMaskedLM if name in MASKED else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = factory.from_config(config)
    return unset(model).eval()


class OwnConfig(PreTrainedConfig):
    """Of a model that transformers does not have."""

    model_type = "own_recurrent"

    def __init__(self, hidden_size: int = WIDTH, cell: str = "LSTM", **fields: Any) -> None:
        self.hidden_size, self.cell = hidden_size, cell
        super().__init__(**{"tie_word_embeddings": False, **fields})


class Average(nn.Module):
    """A module with an odd parameter, which says itself of what kind it is."""

    parameter_kinds: ClassVar[dict[str, str]] = {"weights": "fixed", "table": "embedding"}

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(3))
        self.table = nn.Parameter(torch.empty(300, WIDTH))

    def fixed_values(self) -> dict[str, torch.Tensor]:
        """All on the last."""
        return {"weights": torch.tensor([0.0, 0.0, 1.0])}


class OwnModel(PreTrainedModel):
    """Embedding, a recurrent layer, a projection, an output layer with biases."""

    config_class = OwnConfig

    def __init__(self, config: OwnConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(VOCABULARY, config.hidden_size)
        self.cell = getattr(nn, config.cell)(config.hidden_size, 2 * config.hidden_size, batch_first=True)
        self.projection = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.average = Average()
        self.decoder = nn.Linear(config.hidden_size, VOCABULARY)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder


def recurrent(cell: str = "LSTM") -> PreTrainedModel:
    """Return a recurrent model."""
    with torch.random.fork_rng(devices=[]):
        return unset(OwnModel(OwnConfig(cell=cell)))
