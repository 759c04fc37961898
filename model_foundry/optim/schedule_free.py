"""Schedule-free AdamW: an average of the iterates in place of a falling rate (Defazio et al. 2024).

arXiv 2405.15682, equations 13 to 15, with Adam's preconditioner. Use a constant schedule with a warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from model_foundry.optim import Beta, NotNegative, Optimizer

if TYPE_CHECKING:
    import torch


class ScheduleFree(Optimizer):
    """Evaluations and checkpoints have the averaged weights; the gradient is taken elsewhere."""

    shards: ClassVar[bool] = True

    betas: tuple[Annotated[float, Field(gt=0, lt=1)], Beta] = (0.9, 0.95)
    """Share of the average in the point where the gradient is taken; decay of the mean square."""

    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the mean square."""

    weight_decay: NotNegative = 0.1
    """Pull towards zero, times the learning rate, on matrices; not on biases and norms."""

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer."""
        from model_foundry.optim._groups import parameter_groups
        from model_foundry.optim._schedule_free import AveragedAdam

        groups = parameter_groups(model, self, factors)
        return AveragedAdam(groups, lr=self.learning_rate, betas=self.betas, eps=self.eps)
