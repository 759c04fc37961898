"""SGD: stochastic gradient descent with momentum (Sutskever et al. 2013, ICML), as LSTM baselines use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from model_foundry.optim import Beta, Optimizer

if TYPE_CHECKING:
    import torch


class SGD(Optimizer):
    """The defaults are plain gradient descent; weight decay is added to the gradient, not decoupled."""

    shards: ClassVar[bool] = True

    momentum: Beta = 0.0
    """Decay of the running sum of gradients; 0 for none."""

    nesterov: bool = False
    """Whether the gradient counts once more beside the running sum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the momentum: give momentum, such as 0.9")
        return self

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer."""
        import torch

        from model_foundry.optim._groups import parameter_groups

        return torch.optim.SGD(
            parameter_groups(model, self, factors),
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
        )
