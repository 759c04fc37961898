"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): a Llama with norms on queries and keys, heads of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from model_foundry.model import Vocabulary
from model_foundry.model._fields import RotaryDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen3(RotaryDecoder):
    """Sizes of a Qwen3; linear layers have no biases."""

    head_dim: PositiveInt | None = None
    """Dimensions of a head, an even number; ``width / heads`` where not given."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the mean square in the norms."""

    rope_theta: Annotated[float, Field(gt=0)] = 1_000_000.0
    """Base of the rotary wavelengths."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.qwen3 import Qwen3Config, Qwen3ForCausalLM

        from model_foundry.model import _building as building

        config = Qwen3Config(
            head_dim=self.head_dim or self.width // self.heads,
            rms_norm_eps=self.norm_eps,
            **building.rotary(self, vocabulary, context),
        )
        return building.construct_unset(Qwen3ForCausalLM, config, self.attention)
