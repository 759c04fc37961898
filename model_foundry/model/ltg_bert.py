"""LTG-BERT (Samuel et al. 2023, arXiv 2303.09859): a masked language model for small corpora."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_foundry.model import Direction, Vocabulary
from model_foundry.model._ltg import LTG

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LTGBert(LTG):
    """``LTGBertForMaskedLM``: sees both sides."""

    @property
    def direction(self) -> Direction:
        """Both sides."""
        return "bidirectional"

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from model_foundry.model import _building as building
        from model_foundry.model._configuration_ltg import LTGBertConfig
        from model_foundry.model._modeling_ltg import LTGBertForMaskedLM

        config = LTGBertConfig(**self.sizes(vocabulary, context))
        return building.construct_unset(LTGBertForMaskedLM, config)
