"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.optim import Optimizer

if TYPE_CHECKING:
    import torch

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Optimizer):
    """The defaults are those of small GPT-like models since GPT-3 (nanoGPT, Pythia, Llama)."""

    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay of the running mean of the gradient, and of its square."""

    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the mean square."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Pull towards zero, times the learning rate, on matrices; never on biases and norms."""

    decay_embeddings: bool = True
    """Whether embeddings decay too; OLMo 2 leaves them out."""

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; one fused kernel where every device concerned has it."""
        import torch

        from model_foundry.optim._groups import decay_groups, has_fused_kernels

        groups = decay_groups(model, weight_decay=self.weight_decay, decay_embeddings=self.decay_embeddings)
        return torch.optim.AdamW(
            groups,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.eps,
            fused=has_fused_kernels(model),
        )
