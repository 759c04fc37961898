"""SmolLM3 (Bakouch et al. 2025): a Llama in which every fourth layer has no positions (NoPE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from model_foundry.model import Vocabulary
from model_foundry.model._fields import RotaryDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SmolLM3(RotaryDecoder):
    """Sizes of a SmolLM3; linear layers have no biases."""

    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the mean square in the norms."""

    rope_theta: Annotated[float, Field(gt=0)] = 2_000_000.0
    """Base of the rotary wavelengths."""

    no_position_every: PositiveInt = 4
    """One layer in so many goes without rotation (Yang et al. 2025, arXiv 2501.18795)."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.smollm3 import SmolLM3Config, SmolLM3ForCausalLM

        from model_foundry.model import _building as building

        config = SmolLM3Config(
            no_rope_layer_interval=self.no_position_every,
            rms_norm_eps=self.norm_eps,
            **building.rotary(self, vocabulary, context),
        )
        return building.construct_unset(SmolLM3ForCausalLM, config, self.attention)
