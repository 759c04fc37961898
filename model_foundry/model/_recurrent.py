"""What the sections ``lstm``, ``gru`` and ``rnn`` of a recipe have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from model_foundry.model import Architecture, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Recurrent(Architecture):
    """Sizes of a recurrent language model."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "recurrent"}

    layers: PositiveInt
    """Recurrent layers, one on top of the other."""

    hidden: PositiveInt
    """Size of the hidden state of each layer."""

    embedding: PositiveInt | None = None
    """Size of the token embeddings; ``hidden`` where not given."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the embeddings, between the layers and on the output; never from a token to the next."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding; a linear layer leads there where sizes differ."""

    truncation: PositiveInt | None = None
    """Tokens of a window after which the state goes on and its gradient does not; none where not given."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; any context fits. See ``Architecture.build``."""
        from model_foundry.model import _building as building
        from model_foundry.model._configuration_recurrent import RecurrentConfig
        from model_foundry.model._modeling_recurrent import RecurrentForCausalLM

        config = RecurrentConfig(
            cell=self.part_name(),
            vocab_size=vocabulary.size,
            embedding_size=self.embedding or self.hidden,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            dropout=self.dropout,
            truncation=self.truncation,
            tie_word_embeddings=self.tie_embeddings,
            **building.special_ids(vocabulary),
        )
        return building.construct_unset(RecurrentForCausalLM, config)
