"""GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks, GELU; ``GPT2LMHeadModel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from model_foundry.model import Architecture, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GPT2(Architecture):
    """Sizes of a GPT-2; all else defaults to what was published, but without dropout."""

    layers: PositiveInt
    """Blocks."""

    width: PositiveInt
    """Size of the residual stream; a multiple of ``heads``."""

    heads: PositiveInt
    """Attention heads a block."""

    feed_forward: PositiveInt | None = None
    """Size of the feed-forward's hidden layer; 4 * width where not given."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """After the embeddings, in the attention and on each residual branch; 0 suits a single epoch."""

    bias: bool = True
    """False: biases stay zero and are never trained, as in nanoGPT; the saved file holds the zeros."""

    activation: str = "gelu_pytorch_tanh"
    """Any activation of transformers; the default is GPT-2's own ``gelu_new``, in one kernel."""

    positions: PositiveInt | None = None
    """Learned positions; ``data.context`` where not given."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

        from model_foundry.model import _building as building

        building.refuse_unknown_activation(self.activation)
        config = GPT2Config(
            vocab_size=vocabulary.size,
            n_positions=building.positions_for(context, self.positions),
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            n_inner=self.feed_forward,
            activation_function=self.activation,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            tie_word_embeddings=self.tie_embeddings,
            **building.special_ids(vocabulary),
        )
        model = building.construct_unset(GPT2LMHeadModel, config)
        if not self.bias:
            building.freeze_biases(model)
        return model
