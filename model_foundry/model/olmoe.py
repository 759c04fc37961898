"""OLMoE (Muennighoff et al. 2024, arXiv 2409.02060): many small experts, norms on queries and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from model_foundry.model import Vocabulary
from model_foundry.model._fields import MixtureDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Olmoe(MixtureDecoder):
    """Sizes of an OLMoE; linear layers have no biases."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "truncated_normal"}

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.olmoe import OlmoeConfig, OlmoeForCausalLM

        from model_foundry.model import _building as building

        config = OlmoeConfig(
            num_experts=self.experts,
            num_experts_per_tok=self.experts_per_token,
            norm_topk_prob=False,
            rms_norm_eps=self.norm_eps,
            **building.rotary(self, vocabulary, context),
        )
        return building.construct_unset(OlmoeForCausalLM, config, self.attention)
