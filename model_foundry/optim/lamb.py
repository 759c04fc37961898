"""LAMB: Adam's update at the scale of the weights that it moves (You et al. 2020, arXiv 1904.00962).

As LTG-BERT and GPT-BERT train with it: Adam's bias correction, the plain norm of the weights as their scale,
and a trust ratio only where there is weight decay, so that biases and norms move as with Adam.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from model_foundry.optim import Beta, NotNegative, Optimizer

if TYPE_CHECKING:
    import torch


class Lamb(Optimizer):
    """The defaults are LTG-BERT's; its learning rate is 1e-2."""

    shards: ClassVar[bool] = True

    betas: tuple[Beta, Beta] = (0.9, 0.98)
    """Decay of the running mean of the gradient, and of its square."""

    eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the root of the mean square."""

    weight_decay: NotNegative = 0.1
    """Added to the update times the weights, before the trust ratio, on matrices; not on biases and norms."""

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer."""
        from model_foundry.optim._groups import parameter_groups
        from model_foundry.optim._lamb import LayerwiseAdam

        groups = parameter_groups(model, self, factors)
        return LayerwiseAdam(groups, lr=self.learning_rate, betas=self.betas, eps=self.eps)
