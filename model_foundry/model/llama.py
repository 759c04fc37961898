"""Llama (Touvron et al. 2023, arXiv 2302.13971): rotary positions, RMS norms, SwiGLU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from model_foundry.model import Architecture, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Llama(Architecture):
    """Sizes of a Llama; linear layers have no biases."""

    layers: PositiveInt
    """Blocks."""

    width: PositiveInt
    """Size of the residual stream; a multiple of ``heads``."""

    heads: PositiveInt
    """Query heads a block, of ``width / heads`` dimensions each: an even number, as rotation pairs them."""

    kv_heads: PositiveInt | None = None
    """Key and value heads, fewer than ``heads`` for grouped-query attention; ``heads`` where not given."""

    feed_forward: PositiveInt | None = None
    """Size of the feed-forward's hidden layer; 8/3 * width rounded up to a multiple of 32 where not given."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """In the attention; the architecture has no other."""

    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """Base of the rotary wavelengths; larger for long contexts (Llama 3: 500000)."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    """Added to the mean square in the norms."""

    positions: PositiveInt | None = None
    """Longest window that the config declares; ``data.context`` where not given."""

    tie_embeddings: bool = False
    """Whether the output layer is the token embedding; saves parameters where the model is small."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if (size := self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} / heads {self.heads} is {size}; rotation needs it even")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        return self

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.llama import LlamaConfig, LlamaForCausalLM

        from model_foundry.model import _building as building

        config = LlamaConfig(
            vocab_size=vocabulary.size,
            max_position_embeddings=building.positions_for(context, self.positions),
            hidden_size=self.width,
            intermediate_size=self.feed_forward or -(-self.width * 8 // 96) * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            attention_dropout=self.dropout,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            rms_norm_eps=self.norm_eps,
            tie_word_embeddings=self.tie_embeddings,
            **building.special_ids(vocabulary),
        )
        return building.construct_unset(LlamaForCausalLM, config)
