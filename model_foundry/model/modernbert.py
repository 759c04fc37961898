"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, GeGLU, mostly local attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from model_foundry.model import Vocabulary
from model_foundry.model._fields import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Theta = Annotated[float, Field(gt=0)]


class ModernBert(Encoder):
    """Sizes of a ModernBERT with its head for masked tokens; norms and linear layers have no biases."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "truncated_normal", "cutoff": 2.0}

    feed_forward: PositiveInt | None = None
    """Size of the feed-forward's hidden layer, beside as large a gate; 3/2 * width where not given."""

    local_attention: PositiveInt = 128
    """Tokens that a place sees in the local layers, half of them on either side."""

    global_every: PositiveInt = 3
    """One layer in so many sees the whole window, the first among them."""

    rope_theta: Theta = 160_000.0
    """Base of the rotary wavelengths in the global layers."""

    local_rope_theta: Theta = 10_000.0
    """The same in the local layers."""

    @model_validator(mode="after")
    def _heads_are_even(self) -> Self:
        if (size := self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} / heads {self.heads} is {size}; rotation needs it even")
        return self

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.modernbert import ModernBertConfig, ModernBertForMaskedLM

        from model_foundry.model import _building as building

        sizes = building.sizes(self, vocabulary, context)
        sizes["intermediate_size"] = self.feed_forward or self.width * 3 // 2
        config = ModernBertConfig(
            **sizes,
            cls_token_id=vocabulary.bos_id,
            sep_token_id=vocabulary.eos_id,
            attention_dropout=self.dropout,
            embedding_dropout=self.dropout,
            mlp_dropout=self.dropout,
            norm_eps=self.norm_eps,
            local_attention=self.local_attention,
            layer_types=[
                "sliding_attention" if layer % self.global_every else "full_attention"
                for layer in range(self.layers)
            ],
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": self.rope_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": self.local_rope_theta},
            },
            tie_word_embeddings=self.tie_embeddings,
        )
        return building.construct_unset(ModernBertForMaskedLM, config, self.attention)
