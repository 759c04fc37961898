"""Contract for initialisations: ours, not the library's default, drawn with the recipe's weights seed.

transformers' ``from_config`` does not give published initialisations for Llama-like and NeoX models, so every
fresh model is initialised anew by one of these.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from model_foundry.parts import Part

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Initialization(Part):
    """Settings of one initialisation."""

    @abstractmethod
    def initialize(self, model: PreTrainedModel, generator: torch.Generator) -> None:
        """Overwrite every parameter of ``model`` in place, drawing from ``generator`` alone."""
