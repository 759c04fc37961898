"""OLMo 2's initialisation: N(0, 0.02), cut off at three standard deviations, at any depth and width.

OLMo et al. 2025 (2 OLMo 2 Furious, arXiv 2501.00656).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution


class TruncatedNormalInitialization(Initialization):
    """Serves any model; biases 0, norms 1. BERT's is the same with ``cutoff: 2``."""

    std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation before the cut; at three of them the cut takes 1.3% off, at two 12%."""

    cutoff: Annotated[float, Field(ge=0.5, le=8)] = 3.0
    """Where the distribution ends, in standard deviations."""

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import TruncatedNormal

        def rule(tensor: Tensor) -> Distribution | None:
            return TruncatedNormal(self.std, self.cutoff) if tensor.kind in DRAWN_MATRICES else None

        return assign(model, rule)
