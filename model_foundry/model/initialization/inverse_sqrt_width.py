"""SmolLM's initialisation: N(0, 1 / sqrt(d)) for width d, and that / sqrt(2 layers) for residual projections.

Allal et al. 2025 (SmolLM2, arXiv 2502.02737), whose configurations give nanotron 1 / sqrt(d) as deviation;
nanotron (``scaling/parametrization.py``) divides that of layers split by row, which are the projections into
the residual stream, by sqrt(2 layers).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution


class InverseSqrtWidth(Initialization):
    """Serves any model that says its width; biases 0, norms 1. SmolLM-135M: 0.0417, and 0.0054 residual."""

    depends_on_width: ClassVar[bool] = True

    scale_residual: bool = True
    """False: residual projections are drawn like all other matrices."""

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from model_foundry.model import _kinds as kinds
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import Normal

        std = residual_std = 1 / math.sqrt(kinds.width_of(model))
        if self.scale_residual:
            kinds.require_residual(model)
            residual_std = std / math.sqrt(2 * kinds.layers_of(model))

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind in DRAWN_MATRICES:
                return Normal(residual_std if tensor.kind == "residual" else std)
            return None

        return assign(model, rule)
