"""GPT-2's initialisation: N(0, 0.02), and 0.02 / sqrt(2 layers) for projections into the residual stream.

Radford et al. 2019, section 2.3, in the form of nanoGPT and of transformers' GPT-2: biases 0, norms 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution


class GPT2Initialization(Initialization):
    """Serves any model of transformers that is made of linear layers, embeddings, norms and experts."""

    std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of embeddings and matrices."""

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from model_foundry.model import _kinds as kinds
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import Normal

        kinds.require_residual(model)
        residual_std = self.std / math.sqrt(2 * kinds.layers_of(model))

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind in DRAWN_MATRICES:
                return Normal(residual_std if tensor.kind == "residual" else self.std)
            return None

        return assign(model, rule)
