"""Mamba-2 (Dao and Gu 2024, arXiv 2405.21060): state-space layers whose heads share one decay each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, PositiveInt, model_validator

from model_foundry.model import Vocabulary
from model_foundry.model._fields import Blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Mamba2(Blocks):
    """Sizes of a Mamba-2; a window may be of any length, and documents in it cannot be isolated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"layers": 2, "width": 64}]})
    own_initialization: ClassVar[dict[str, Any]] = {"type": "mamba"}

    state: PositiveInt = 128
    """Size of the state that each channel carries from token to token."""

    expand: PositiveInt = 2
    """Channels of a block, in multiples of width."""

    head_dim: PositiveInt = 64
    """Channels of a head; ``expand * width`` is a multiple of it."""

    groups: PositiveInt = 1
    """Groups of heads that read and write their states alike; divides the number of heads."""

    convolution: PositiveInt = 4
    """Tokens that the convolution before the state-space layer sees."""

    chunk: PositiveInt = 256
    """Tokens computed at once; changes the speed, not the result."""

    tie_embeddings: bool = True
    """Whether the output layer is the token embedding."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        channels = self.expand * self.width
        if channels % self.head_dim:
            raise ValueError(f"expand * width {channels} is not a multiple of head_dim {self.head_dim}")
        if (heads := channels // self.head_dim) % self.groups:
            raise ValueError(f"the {heads} heads are not a multiple of groups {self.groups}")
        return self

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.mamba2 import Mamba2Config, Mamba2ForCausalLM

        from model_foundry.model import _building as building

        config = Mamba2Config(
            vocab_size=building.rows_for(vocabulary, self.vocab_size),
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_heads=self.expand * self.width // self.head_dim,
            head_dim=self.head_dim,
            state_size=self.state,
            expand=self.expand,
            n_groups=self.groups,
            conv_kernel=self.convolution,
            chunk_size=self.chunk,
            layer_norm_epsilon=self.norm_eps,
            tie_word_embeddings=self.tie_embeddings,
            **building.special_ids(vocabulary),
        )
        model = building.construct_unset(Mamba2ForCausalLM, config)
        building.warn_of_slow_scan(model)
        return model
