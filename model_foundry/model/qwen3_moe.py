"""Qwen3's mixtures of experts (Yang et al. 2025, arXiv 2505.09388): a Qwen3 with experts in every block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from model_foundry.model import Vocabulary
from model_foundry.model._fields import MixtureDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen3Moe(MixtureDecoder):
    """Sizes of a Qwen3 mixture; the weights of a token's experts sum to 1."""

    head_dim: PositiveInt | None = None
    """Dimensions of a head, an even number; ``width / heads`` where not given."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the mean square in the norms."""

    rope_theta: Annotated[float, Field(gt=0)] = 1_000_000.0
    """Base of the rotary wavelengths."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.qwen3_moe import Qwen3MoeConfig, Qwen3MoeForCausalLM

        from model_foundry.model import _building as building

        fields = building.rotary(self, vocabulary, context)
        fields["head_dim"] = self.head_dim or self.width // self.heads
        config = Qwen3MoeConfig(
            moe_intermediate_size=self.feed_forward,
            num_experts=self.experts,
            num_experts_per_tok=self.experts_per_token,
            norm_topk_prob=True,
            rms_norm_eps=self.norm_eps,
            **fields,
        )
        return building.construct_unset(Qwen3MoeForCausalLM, config, self.attention)
