"""LAMB's update."""

from __future__ import annotations

import math
from typing import Any

import torch


class LayerwiseAdam(torch.optim.Optimizer):
    """You et al. 2020 (arXiv 1904.00962), algorithm 2, with the identity as its function phi.

    A group without weight decay has the trust ratio 1, as in LTG-BERT's code; the paper has none of that.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # none is ever asked for
        """Take one step; a parameter without a gradient stays as it is."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = int(state["step"])
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = square.sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
        update = mean.div(1 - beta1**step).div_(root)
        decay = group["weight_decay"]
        if not decay:
            parameter.add_(update, alpha=-group["lr"])
            return
        update.add_(parameter, alpha=decay)
        weights, size = parameter.norm(), update.norm()
        ratio = torch.where((weights > 0) & (size > 0), weights / size, 1.0)
        parameter.sub_(update.mul_(ratio * group["lr"]))
