"""What the sections ``ltg_bert`` and ``gpt_bert`` of a recipe have in common."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from model_foundry.model import Architecture, Vocabulary


class LTG(Architecture):
    """Sizes of an LTG-BERT or GPT-BERT; all else is as published, but without dropout."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "ltg"}

    layers: PositiveInt
    """Layers, of attention and feed-forward each."""

    width: PositiveInt
    """Size of the residual stream; a multiple of ``heads``."""

    heads: PositiveInt
    """Attention heads a layer."""

    feed_forward: PositiveInt
    """Size of the feed-forward's hidden layer, behind its gate."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Everywhere: embeddings, attention, branches, head; published with 0.1."""

    positions: PositiveInt = 512
    """Longest window; distances are told apart up to it, in ``position_buckets``."""

    position_buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32
    """Classes of distance to one side; half of them are of one distance each."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.positions <= self.position_buckets:
            raise ValueError(
                f"positions {self.positions} must be more than position_buckets {self.position_buckets}"
            )
        return self

    def sizes(self, vocabulary: Vocabulary, context: int) -> dict[str, Any]:
        """Return the fields of the config.

        Raises:
            RecipeError: When the context does not fit.
        """
        from model_foundry.model import _building as building

        return {
            "vocab_size": vocabulary.size,
            "hidden_size": self.width,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "max_position_embeddings": building.positions_for(context, self.positions),
            "position_bucket_size": self.position_buckets,
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout,
            **building.special_ids(vocabulary),
        }
