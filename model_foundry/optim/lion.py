"""Lion: the sign of the momentum (Chen et al. 2023, arXiv 2302.06675, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from model_foundry.optim import Beta, NotNegative, Optimizer

if TYPE_CHECKING:
    import torch


class Lion(Optimizer):
    """Wants a rate 3 to 10 times smaller than AdamW's, and as many times more weight decay."""

    shards: ClassVar[bool] = True

    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Share of the running mean in the direction that is taken, and the decay of the running mean."""

    weight_decay: NotNegative = 0.1
    """Pull towards zero, times the learning rate, on matrices; not on biases and norms."""

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer."""
        from model_foundry.optim._groups import parameter_groups
        from model_foundry.optim._lion import SignOfMomentum

        groups = parameter_groups(model, self, factors)
        return SignOfMomentum(groups, lr=self.learning_rate, betas=self.betas)
