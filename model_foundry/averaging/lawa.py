"""LAWA: the plain mean of the latest weights at a fixed spacing (Kaddour 2022, arXiv 2209.14981)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from model_foundry.averaging import Averaging

if TYPE_CHECKING:
    import torch


class LatestWeightAverage(Averaging):
    """Takes ``last`` times the memory of the weights, also in a resumable checkpoint."""

    last: PositiveInt = 6
    """How many weights are averaged; fewer at the beginning, and the weights themselves before the first."""

    every: PositiveInt = 100
    """Updates between them."""

    def around(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return the optimizer with the average; see ``Averaging.around``."""
        from model_foundry.averaging._kept import Latest

        return Latest(optimizer, use=self.use, last=self.last, every=self.every)
