"""GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks, GELU; ``GPT2LMHeadModel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from model_foundry.model import Vocabulary
from model_foundry.model._fields import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GPT2(Decoder):
    """Sizes of a GPT-2; all else defaults to what was published, but without dropout."""

    positions: PositiveInt | None = None
    """Learned positions; ``data.context`` where not given."""

    bias: bool = True
    """False: biases stay zero and are never trained, as in nanoGPT; the saved file holds the zeros."""

    activation: str = "gelu_pytorch_tanh"
    """Any activation of transformers; the default is GPT-2's own ``gelu_new``, in one kernel."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

        from model_foundry.model import _building as building

        building.refuse_unknown_activation(self.activation)
        config = GPT2Config(
            vocab_size=building.rows_for(vocabulary, self.vocab_size),
            n_positions=building.positions_for(context, self.positions),
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            n_inner=self.feed_forward,
            activation_function=self.activation,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            layer_norm_epsilon=self.norm_eps,
            tie_word_embeddings=self.tie_embeddings,
            **building.special_ids(vocabulary),
        )
        model = building.construct_unset(GPT2LMHeadModel, config, self.attention)
        if not self.bias:
            building.freeze_biases(model)
        return model
