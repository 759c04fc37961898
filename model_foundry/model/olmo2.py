"""OLMo 2 (OLMo et al. 2025, arXiv 2501.00656): RMS norms behind each branch, and on queries and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from model_foundry.model import Vocabulary
from model_foundry.model._fields import RotaryDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Olmo2(RotaryDecoder):
    """Sizes of an OLMo 2; linear layers have no biases."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "truncated_normal"}

    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the mean square in the norms."""

    rope_theta: Annotated[float, Field(gt=0)] = 500_000.0
    """Base of the rotary wavelengths."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.olmo2 import Olmo2Config, Olmo2ForCausalLM

        from model_foundry.model import _building as building

        config = Olmo2Config(rms_norm_eps=self.norm_eps, **building.rotary(self, vocabulary, context))
        return building.construct_unset(Olmo2ForCausalLM, config, self.attention)
