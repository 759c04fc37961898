"""Adafactor: Adam's second moment kept as row and column means (Shazeer and Stern 2018, arXiv 1804.04235)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.optim import Optimizer

if TYPE_CHECKING:
    import torch


class Adafactor(Optimizer):
    """Torch's, with the paper's relative steps: a tensor moves by the rate times its root mean square.

    The rate is never above ``1 / sqrt(update)``, whatever the schedule says (the paper's section 8).
    """

    beta2_decay: Annotated[float, Field(lt=0)] = -0.8
    """Exponent of the update in the decay of the second moment: 1 - update^beta2_decay."""

    least_rms: Annotated[float, Field(gt=0)] = 1e-3
    """Least root mean square that a tensor counts with, so that one of zeros moves at all."""

    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest root mean square of an update before the rate (the paper's d)."""

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer."""
        import torch

        from model_foundry.optim._groups import parameter_groups

        return torch.optim.Adafactor(
            parameter_groups(model, self, factors),
            lr=self.learning_rate,
            beta2_decay=self.beta2_decay,
            eps=(None, self.least_rms),
            d=self.clip,
        )
