"""DeBERTa, in the form of its second and third version (He et al. 2021, arXiv 2006.03654 and 2111.09543)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveInt

from model_foundry.model import Direction, Vocabulary
from model_foundry.model._fields import Heads

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DebertaV2(Heads):
    """Sizes of a DeBERTa with its head for masked tokens: contents and relative positions attend apart."""

    positions: PositiveInt | None = None
    """Distances beyond this one count as the same; ``data.context`` where not given."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-7
    """Added to the variance in the norms."""

    position_buckets: PositiveInt = 256
    """Buckets of distances on either side: single up to half of them, logarithmic beyond."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding."""

    @property
    def direction(self) -> Direction:
        """Every place sees all others."""
        return "bidirectional"

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.deberta_v2 import DebertaV2Config, DebertaV2ForMaskedLM

        from model_foundry.model import _building as building

        third_version: dict[str, Any] = {  # which the class reads, but does not declare
            "position_buckets": self.position_buckets,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        }
        config = DebertaV2Config(
            **building.sizes(self, vocabulary, context),
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            layer_norm_eps=self.norm_eps,
            type_vocab_size=0,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            tie_word_embeddings=self.tie_embeddings,
            **third_version,
        )
        return building.construct_unset(DebertaV2ForMaskedLM, config, "eager")
