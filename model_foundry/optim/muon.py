"""Muon: orthogonalised momentum for the hidden matrices, AdamW for the rest (Jordan et al. 2024).

The method: https://kellerjordan.github.io/posts/muon/. One convention of the learning rate holds throughout:
with ``scale: match_rms_adamw`` a matrix of r rows and c columns moves by ``0.2 * sqrt(max(r, c))`` times the
orthogonalised momentum, which has about the root mean square of AdamW's update, so that one learning rate
serves both (Liu et al. 2025, arXiv 2502.16982, section 2.2). ``scale: original`` is ``sqrt(max(1, r / c))``,
with rows as outputs; its learning rates are of another size (0.02), so AdamW's is given beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from model_foundry.optim import Beta, NotNegative, Optimizer

if TYPE_CHECKING:
    import torch


class Muon(Optimizer):
    """Hidden matrices go to Muon; embeddings, the output layer, norms, biases and all else to AdamW."""

    weight_decay: NotNegative = 0.1
    """Pull towards zero, times the learning rate, on matrices; not on biases and norms."""

    scale: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """Size of a matrix's update: match_rms_adamw moves it as AdamW would; original is Jordan's."""

    momentum: Beta = 0.95
    """Decay of the running mean of a matrix's gradient."""

    nesterov: bool = True
    """Whether the gradient counts once more beside the running mean."""

    adamw_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak of AdamW's groups; learning_rate where not given, which scale original does not allow."""

    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """AdamW's decay of the running mean of the gradient, and of its square."""

    eps: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's addition to the root of the mean square."""

    @model_validator(mode="after")
    def _one_convention(self) -> Self:
        if self.scale == "original" and self.adamw_learning_rate is None:
            raise ValueError(
                "scale original has learning rates of its own, such as 0.02: give adamw_learning_rate "
                "beside learning_rate, or choose scale match_rms_adamw"
            )
        return self

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return both as one optimizer."""
        from model_foundry.optim._groups import has_fused_kernels
        from model_foundry.optim._muon import MuonWithAdamW, muon_groups

        muon, adamw = muon_groups(
            model,
            self,
            factors,
            is_original=self.scale == "original",
            adamw_factor=(self.adamw_learning_rate or self.learning_rate) / self.learning_rate,
        )
        return MuonWithAdamW(
            muon,
            adamw,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            scale=self.scale,
            betas=self.betas,
            eps=self.eps,
            fused=has_fused_kernels(model),
        )
