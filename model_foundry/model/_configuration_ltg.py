"""What a saved LTG-BERT or GPT-BERT says of itself."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from model_foundry.registration import register_models


@strict
class LTGBertConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of an ``LTGBertForMaskedLM``; the defaults are those of the base model."""

    model_type: ClassVar[str] = "foundry_ltg_bert"

    vocab_size: int = 16384
    hidden_size: int = 768
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 512
    position_bucket_size: int = 32
    layer_norm_eps: float = 1e-7
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    tie_word_embeddings: bool = True
    use_cache: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Let transformers know the model of this config, too."""
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        register_models()


@strict
class GPTBertConfig(LTGBertConfig):  # type: ignore[no-untyped-call]
    """Sizes of a ``GPTBertForCausalLM``; the defaults are those of the base model."""

    model_type: ClassVar[str] = "foundry_gpt_bert"

    intermediate_size: int = 2560
    layer_norm_eps: float = 1e-5
