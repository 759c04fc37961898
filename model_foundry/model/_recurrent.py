"""What the sections ``lstm``, ``gru`` and ``rnn`` of a recipe have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

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

    carry_state: bool = False
    """Whether a lane goes on with the state that it had after its window of the update before, without its
    gradient; needs data.order: streams."""

    @field_validator("carry_state")
    @classmethod
    def _is_truncated_once(cls, carry_state: bool, others: ValidationInfo) -> bool:
        if carry_state and others.data.get("truncation") is not None:
            raise PydanticCustomError(
                "truncation",
                "expected no truncation beside it, since a gradient ends with its window here: set "
                "data.context to the tokens that it shall flow back over",
            )
        return carry_state

    @property
    def carried_shapes(self) -> list[tuple[int, int]]:
        """Layers and size of what is carried; see ``Architecture.carried_shapes``."""
        parts = 2 if self.part_name() == "lstm" else 1
        return [(self.layers, self.hidden)] * parts if self.carry_state else []

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
