"""Llama (Touvron et al. 2023, arXiv 2302.13971): rotary positions, RMS norms, SwiGLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_foundry.model import Vocabulary
from model_foundry.model._fields import RotaryDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Llama(RotaryDecoder):
    """Sizes of a Llama; linear layers have no biases."""

    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model with its parameters unset; see ``Architecture.build``."""
        from transformers.models.llama import LlamaConfig, LlamaForCausalLM

        from model_foundry.model import _building as building

        config = LlamaConfig(rms_norm_eps=self.norm_eps, **building.rotary(self, vocabulary, context))
        return building.construct_unset(LlamaForCausalLM, config, self.attention)
