"""Mamba (Gu and Dao 2023, arXiv 2312.00752): a selective state-space layer in each block, no attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from model_foundry.model import Vocabulary
from model_foundry.model._fields import Blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Mamba(Blocks):
    """Sizes of a Mamba; a window may be of any length, and documents in it cannot be isolated."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "mamba"}

    state: PositiveInt = 16
    """Size of the state that each channel carries from token to token."""

    expand: PositiveInt = 2
    """Channels of a block, in multiples of width."""

    convolution: PositiveInt = 4
    """Tokens that the convolution before the state-space layer sees."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.mamba import MambaConfig, MambaForCausalLM

        from model_foundry.model import _building as building

        config = MambaConfig(
            vocab_size=building.rows_for(vocabulary, self.vocab_size),
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            state_size=self.state,
            expand=self.expand,
            conv_kernel=self.convolution,
            layer_norm_epsilon=self.norm_eps,
            tie_word_embeddings=self.tie_embeddings,
            **building.special_ids(vocabulary),
        )
        model = building.construct_unset(MambaForCausalLM, config)
        building.warn_of_slow_scan(model)
        return model
