"""BERT (Devlin et al. 2019, arXiv 1810.04805): learned positions, norms behind each branch, GELU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from model_foundry.model import Vocabulary
from model_foundry.model._fields import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Bert(Encoder):
    """Sizes of a BERT with its head for masked tokens; without next-sentence prediction."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "truncated_normal", "cutoff": 2.0}

    positions: PositiveInt | None = None
    """Learned positions; ``data.context`` where not given."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-12
    """Added to the variance in the norms."""

    segments: PositiveInt = 2
    """Segment embeddings; training uses the first alone."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.bert import BertConfig, BertForMaskedLM

        from model_foundry.model import _building as building

        config = BertConfig(
            **building.sizes(self, vocabulary, context),
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            layer_norm_eps=self.norm_eps,
            type_vocab_size=self.segments,
            tie_word_embeddings=self.tie_embeddings,
        )
        return building.construct_unset(BertForMaskedLM, config, self.attention)
