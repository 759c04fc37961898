"""Exponential moving average of the weights, as GPT-BERT keeps it (Polyak and Juditsky 1992, in spirit)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.averaging import Averaging

if TYPE_CHECKING:
    import torch


class ExponentialMovingAverage(Averaging):
    """Begins at the initial weights; each update: average <- decay * average + (1 - decay) * weights."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """What of the average stays at each update; 0.999 remembers about 1,000 updates."""

    def around(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return the optimizer with the average; see ``Averaging.around``."""
        from model_foundry.averaging._kept import Moving

        return Moving(optimizer, use=self.use, decay=self.decay)
