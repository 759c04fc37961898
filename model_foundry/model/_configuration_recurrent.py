"""What a saved recurrent language model says of itself."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from model_foundry.registration import register_models


@strict
class RecurrentConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of a ``RecurrentForCausalLM``; the fields are those of the recipe's section."""

    model_type: ClassVar[str] = "foundry_recurrent"

    cell: str = "lstm"
    vocab_size: int = 50000
    embedding_size: int = 650
    hidden_size: int = 650
    num_hidden_layers: int = 2
    dropout: float | int = 0.2
    truncation: int | None = None
    tie_word_embeddings: bool = True
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Let transformers know the model of this config, too."""
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        register_models()
