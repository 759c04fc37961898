"""GPT-NeoX (Black et al. 2022, arXiv 2204.06745), and so Pythia: attention and feed-forward side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from model_foundry.model import Vocabulary
from model_foundry.model._fields import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GPTNeoX(Decoder):
    """Sizes of a GPT-NeoX; all else defaults to Pythia's."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "small_init"}

    rotary_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a head's dimensions that are rotated by position."""

    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """Base of the rotary wavelengths."""

    parallel_residual: bool = True
    """Attention and feed-forward read the same input; false: one after the other."""

    tie_embeddings: bool = False
    """Whether the output layer is the token embedding."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.gpt_neox import GPTNeoXConfig, GPTNeoXForCausalLM

        from model_foundry.model import _building as building

        config = GPTNeoXConfig(
            **building.sizes(self, vocabulary, context),
            attention_dropout=self.dropout,
            hidden_dropout=self.dropout,
            layer_norm_eps=self.norm_eps,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": self.rope_theta,
                "partial_rotary_factor": self.rotary_share,
            },
            use_parallel_residual=self.parallel_residual,
            tie_word_embeddings=self.tie_embeddings,
        )
        return building.construct_unset(GPTNeoXForCausalLM, config, self.attention)
