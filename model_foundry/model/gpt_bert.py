"""GPT-BERT (Charpentier and Samuel 2024, arXiv 2410.24159): causal and masked language model in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_foundry.model import Direction, Vocabulary
from model_foundry.model._ltg import LTG

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GPTBert(LTG):
    """``GPTBertForCausalLM``: causal, or as the mask of a row says."""

    @property
    def direction(self) -> Direction:
        """As a mask says."""
        return "any"

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from model_foundry.model import _building as building
        from model_foundry.model._configuration_ltg import GPTBertConfig
        from model_foundry.model._modeling_ltg import GPTBertForCausalLM

        config = GPTBertConfig(**self.sizes(vocabulary, context))
        return building.construct_unset(GPTBertForCausalLM, config)
