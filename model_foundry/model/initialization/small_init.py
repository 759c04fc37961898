"""Pythia's initialisation: N(0, sqrt(2 / 5d)), and 2 / (L sqrt(d)) for projections into the residual stream.

d is the width and L the number of layers. The first is ``small_init`` (Nguyen and Salazar 2019, arXiv
1910.05895), the second ``wang_init`` (GPT-NeoX, after Wang's GPT-J). Biderman et al. 2023 (Pythia, arXiv
2304.01373) train with both, embeddings and output layer included in the first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution


class SmallInit(Initialization):
    """Serves any model that says its width and number of layers; biases 0, norms 1."""

    depends_on_width: ClassVar[bool] = True

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from model_foundry.model import _kinds as kinds
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import Normal

        kinds.require_residual(model)
        width, layers = kinds.width_of(model), kinds.layers_of(model)
        small, wang = math.sqrt(2 / (5 * width)), 2 / (layers * math.sqrt(width))

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind in DRAWN_MATRICES:
                return Normal(wang if tensor.kind == "residual" else small)
            return None

        return assign(model, rule)
