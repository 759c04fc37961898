"""GPT-2's initialisation: N(0, 0.02), and 0.02 / sqrt(2 layers) for projections into the residual stream.

Radford et al. 2019, section 2.3, in the form of nanoGPT and of transformers' GPT-2: biases 0, norms 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from model_foundry.model.initialization import Initialization

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

STD = 0.02


class GPT2Initialization(Initialization):
    """Serves any causal model of transformers that is made of linear layers, embeddings and norms."""

    def initialize(self, model: PreTrainedModel, generator: torch.Generator) -> None:
        """Overwrite every parameter of ``model`` in place, drawing from ``generator`` alone.

        Parameters are drawn in the order of ``named_parameters``, in which a tied weight stands once.

        Raises:
            RecipeError: When the model holds a parameter that this rule does not know.
        """
        import torch

        from model_foundry.model.initialization import _kinds as kinds

        residual_std = STD / math.sqrt(2 * kinds.layers_of(model))
        with torch.no_grad():
            for name, parameter, kind in kinds.parameters_by_kind(model):
                if kind == "bias":
                    parameter.zero_()
                elif kind == "norm":
                    parameter.fill_(kinds.neutral_weight(model, name))
                else:
                    kinds.draw_normal(parameter, residual_std if kind == "residual" else STD, generator)
            kinds.clear_padding_rows(model)
