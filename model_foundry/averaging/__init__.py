"""Contract for weight averages: a part that keeps an average of the weights beside their training.

The average lies in the optimizer's state, parameter by parameter, so it is saved, verified and resumed with
it. Buffers are never averaged, and a tied weight has one average.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from model_foundry.parts import Part

if TYPE_CHECKING:
    import torch


class Averaging(Part):
    """Settings of one average."""

    use: bool = False
    """Whether evaluations and checkpoints have the averaged weights; else ``average`` exports them."""

    @abstractmethod
    def around(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return an optimizer that takes the same steps and keeps the average.

        Raises:
            RecipeError: When ``use`` is asked for and the optimizer has averaged weights of its own.
        """
