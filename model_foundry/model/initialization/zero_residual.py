"""Every branch begins silent: projections into the residual stream are 0, all other matrices N(0, 0.02).

Jordan et al. 2024 (modded-nanogpt); the idea is older (Zhang et al. 2019, Fixup, arXiv 1901.09321).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution


class ZeroResidual(Initialization):
    """Serves any model whose residual projections are known; biases 0, norms 1."""

    std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of embeddings and of all matrices but the residual projections."""

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from model_foundry.model import _kinds as kinds
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import Constant, Normal

        kinds.require_residual(model)

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind in DRAWN_MATRICES:
                return Constant(0.0) if tensor.kind == "residual" else Normal(self.std)
            return None

        return assign(model, rule)
