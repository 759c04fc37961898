"""Initialisation of LTG-BERT and GPT-BERT: N(0, sqrt(2 / 5d)) cut off at two standard deviations.

Samuel et al. 2023 (LTG-BERT, arXiv 2303.09859) and Charpentier and Samuel 2024 (GPT-BERT, arXiv 2410.24159),
after Nguyen and Salazar 2019 (arXiv 1910.05895). d is the width. Feed-forward matrices of layer l, counted
from 0, are multiplied by sqrt(1 / (2 (1 + l))), as in their code; attention is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.model._kinds import Tensor
    from model_foundry.model.initialization._distributions import Distribution

CUTOFF = 2.0


class LTGInitialization(Initialization):
    """Serves any model that says its width; biases 0, norms 1."""

    depends_on_width: ClassVar[bool] = True

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter is drawn from; see ``Initialization.drawings``."""
        from model_foundry.model import _kinds as kinds
        from model_foundry.model.initialization._assigning import DRAWN_MATRICES, assign
        from model_foundry.model.initialization._distributions import TruncatedNormal

        std = math.sqrt(2 / (5 * kinds.width_of(model)))

        def rule(tensor: Tensor) -> Distribution | None:
            if tensor.kind not in DRAWN_MATRICES:
                return None
            if tensor.in_feed_forward and tensor.layer is not None:
                return TruncatedNormal(std * math.sqrt(1 / (2 * (1 + tensor.layer))), CUTOFF)
            return TruncatedNormal(std, CUTOFF)

        return assign(model, rule)
