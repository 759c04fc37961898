"""OLMo (Groeneveld et al. 2024, arXiv 2402.00838): a Llama whose layer norms have no parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.model import Vocabulary
from model_foundry.model._fields import RotaryDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Olmo(RotaryDecoder):
    """Sizes of an OLMo; linear layers have no biases."""

    norm_eps: Annotated[float, Field(ge=1e-5, le=1e-5)] = 1e-5
    """Added to the variance in the norms; the class has no other."""

    clip_qkv: Annotated[float, Field(gt=0)] | None = None
    """Queries, keys and values are cut off at this value (OLMo-7B: 8); not at all where not given."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.olmo import OlmoConfig, OlmoForCausalLM

        from model_foundry.model import _building as building

        config = OlmoConfig(clip_qkv=self.clip_qkv, **building.rotary(self, vocabulary, context))
        return building.construct_unset(OlmoForCausalLM, config, self.attention)
