"""Contract for optimizers: a part that turns named parameters into a ``torch.optim.Optimizer``.

The learning rate that it is built with is the peak; the loop sets ``group["lr"]`` before each update to
``peak * schedule(update)``, times the group's own ``lr_scale`` where there is one.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import Field

from model_foundry.parts import Part

if TYPE_CHECKING:
    import torch


class Optimizer(Part):
    """Settings of one optimizer."""

    learning_rate: float = Field(gt=0)
    """Peak learning rate."""

    @abstractmethod
    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer over ``model``'s trainable parameters, grouped by the rules in ``_groups``."""
