"""Fields that architectures share, so that one word means one thing in all of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model_foundry.model import Architecture, Direction

Dropout = Annotated[float, Field(ge=0, lt=1)]
Attention = Literal["sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3"]


class Blocks(Architecture):
    """A stack of equal blocks between an embedding and an output layer."""

    layers: PositiveInt
    """Blocks."""

    width: PositiveInt
    """Size of the residual stream."""

    vocab_size: PositiveInt | None = None
    """Rows of embedding and output layer; the tokenizer's entries where not given. More are padding: they are
    in the softmax, as where it was published (Pythia: 50304), and never written when text is generated."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    """Added to the variance, or mean square, in the norms."""


class Heads(Blocks):
    """Blocks of attention and a feed-forward."""

    heads: PositiveInt
    """Attention heads a block, of ``width / heads`` dimensions each unless another field says so."""

    feed_forward: PositiveInt | None = None
    """Size of the feed-forward's hidden layer; 4 * width where not given."""

    dropout: Dropout = 0.0
    """In the attention, and wherever else the architecture has any; 0 suits a single epoch."""

    positions: PositiveInt | None = None
    """Longest window; ``data.context`` where not given."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads and getattr(self, "head_dim", None) is None:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Attending(Heads):
    """Blocks whose attention transformers computes by a kernel of choice."""

    attention: Attention = "sdpa"
    """Kernel: torch's own choice (sdpa), plain (eager), or one that must be installed or needs a GPU."""


class Decoder(Attending):
    """Blocks that look back only, or as a mask of the caller's says."""

    @property
    def direction(self) -> Direction:
        """``any`` under sdpa: eager attention would add the mask, flash attention takes none."""
        return "any" if self.attention == "sdpa" else "causal"


class RotaryDecoder(Decoder):
    """A Llama-like decoder: rotary positions, SwiGLU, no biases."""

    kv_heads: PositiveInt | None = None
    """Key and value heads, fewer than ``heads`` for grouped-query attention; ``heads`` where not given."""

    feed_forward: PositiveInt | None = None
    """Size of the feed-forward's hidden layer; 8/3 * width rounded up to a multiple of 32 where not given."""

    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """Base of the rotary wavelengths; larger for long contexts (Llama 3: 500000)."""

    tie_embeddings: bool = False
    """Whether the output layer is the token embedding; saves parameters where the model is small."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        own_size = getattr(self, "head_dim", None)
        if own_size is None and (size := self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} / heads {self.heads} is {size}; rotation needs it even")
        if own_size is not None and own_size % 2:
            raise ValueError(f"head_dim {own_size} is odd; rotation needs it even")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        return self


class MixtureDecoder(RotaryDecoder):
    """A Llama-like decoder whose feed-forwards are mixtures of experts."""

    feed_forward: PositiveInt
    """Size of one expert's hidden layer."""

    experts: PositiveInt
    """Experts a block."""

    experts_per_token: PositiveInt
    """Experts that a token goes through, at most ``experts``."""

    @model_validator(mode="after")
    def _experts_suffice(self) -> Self:
        if self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token {self.experts_per_token} is more than experts {self.experts}"
            )
        return self


class Encoder(Attending):
    """Blocks that look both ways, for masked language modelling."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding."""

    @property
    def direction(self) -> Direction:
        """Every place sees all others."""
        return "bidirectional"
