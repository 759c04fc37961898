"""RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT's blocks, positions counted from the padding id on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.model._fields import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Roberta(Encoder):
    """Sizes of a RoBERTa with its head for masked tokens."""

    positions: PositiveInt | None = None
    """Learned positions, beside those of ids up to the padding's; ``data.context`` where not given."""

    segments: PositiveInt = 1
    """Segment embeddings; training uses the first alone."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``.

        Raises:
            RecipeError: Also when the tokenizer has no padding id of its own.
        """
        from transformers.models.roberta import RobertaConfig, RobertaForMaskedLM

        from model_foundry.model import _building as building

        sizes = building.sizes(self, vocabulary, context)
        if sizes["pad_token_id"] is None:
            raise RecipeError(
                "model: roberta counts positions from the padding id, and the tokenizer has none of its own. "
                "Choose a tokenizer with a padding token, or type: bert, whose blocks are the same."
            )
        sizes["max_position_embeddings"] += sizes["pad_token_id"] + 1
        config = RobertaConfig(
            **sizes,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            layer_norm_eps=self.norm_eps,
            type_vocab_size=self.segments,
            tie_word_embeddings=self.tie_embeddings,
        )
        return building.construct_unset(RobertaForMaskedLM, config, self.attention)
