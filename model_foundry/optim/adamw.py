"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from model_foundry.optim import Beta, NotNegative, Optimizer

if TYPE_CHECKING:
    import torch


class AdamW(Optimizer):
    """The defaults are those of small GPT-like models since GPT-3 (nanoGPT, Pythia, Llama)."""

    shards: ClassVar[bool] = True

    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay of the running mean of the gradient, and of its square."""

    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the mean square."""

    weight_decay: NotNegative = 0.1
    """Pull towards zero, times the learning rate, on matrices; not on biases and norms."""

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer; one fused kernel where every device concerned has it."""
        import torch

        from model_foundry.optim._groups import has_fused_kernels, parameter_groups

        return torch.optim.AdamW(
            parameter_groups(model, self, factors),
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.eps,
            fused=has_fused_kernels(model),
        )
