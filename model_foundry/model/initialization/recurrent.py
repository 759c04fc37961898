"""Initialisation of recurrent language models: uniform within 1 / sqrt(hidden size), embeddings within 0.1.

The first is torch's own for its LSTM, GRU and RNN, the second that of the word-level language models of
Merity et al. 2018 (arXiv 1708.02182) and Gulordava et al. 2018 (arXiv 1803.11138).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.errors import RecipeError
from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution


class RecurrentInitialization(Initialization):
    """Serves models made of torch's recurrent layers; linear layers as in torch, their biases 0, norms 1."""

    embedding_range: Annotated[float, Field(gt=0)] = 0.1
    """Embeddings and output layer are uniform within this."""

    forget_bias: float | None = None
    """Bias of an LSTM's forget gate: 1 remembers from the start (Jozefowicz et al. 2015); null draws it."""

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``.

        Raises:
            RecipeError: Also when there is no LSTM for the forget gate's bias.
        """
        from torch import nn

        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import ForgetGate, Uniform

        if self.forget_bias is not None and not any(isinstance(part, nn.LSTM) for part in model.modules()):
            raise RecipeError(
                f"initialization.forget_bias: {type(model).__name__} has no LSTM, and only an LSTM has a "
                "forget gate. Leave it out, or choose model.type lstm."
            )

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind in ("embedding", "output"):
                return Uniform(self.embedding_range)
            if tensor.kind in DRAWN_MATRICES:
                return Uniform(1 / math.sqrt(tensor.fan_in))
            is_bias = tensor.kind == "recurrent" and tensor.field.startswith("bias_")
            if is_bias and self.forget_bias is not None and isinstance(tensor.owner, nn.LSTM):
                # torch adds two biases; the gate shall have the one stated
                value = self.forget_bias if tensor.field.startswith("bias_ih") else 0.0
                return ForgetGate(1 / math.sqrt(tensor.owner.hidden_size), value)
            return None

        return assign(model, rule)
