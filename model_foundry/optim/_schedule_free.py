"""Schedule-free AdamW's update, and the exchange of its three sequences of weights."""

from __future__ import annotations

import math
from typing import Any

import torch


class AveragedAdam(torch.optim.Optimizer):
    """Defazio et al. 2024 (arXiv 2405.15682): steps z, their average x, and y between them.

    While training, parameters are y, where the gradient is taken, and the state holds z. ``eval`` puts
    ``x = y + (1 - 1/beta) * (z - y)`` in their place and keeps y in the state, since rounding would not give
    the same y again; ``train`` puts it back. So what is saved in between resumes bit for bit.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        sums = {"weight_sum": 0.0, "largest_lr": 0.0}
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, **sums})

    @torch.no_grad()
    def eval(self) -> None:
        """Have the averaged weights in the parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.get(parameter)
                if state and "y" not in state:
                    state["y"] = parameter.clone()
                    parameter.lerp_(state["z"], 1 - 1 / group["betas"][0])

    @torch.no_grad()
    def train(self) -> None:
        """Have the weights in the parameters at which the gradient is taken."""
        for parameter, state in self.state.items():
            if "y" in state:
                parameter.copy_(state.pop("y"))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # none is ever asked for
        """Take one step; a parameter without a gradient stays as it is."""
        for group in self.param_groups:
            # The average weighs an iterate by the square of the rate, so that a warm-up counts little.
            group["largest_lr"] = max(group["largest_lr"], group["lr"])
            weight = group["largest_lr"] ** 2
            group["weight_sum"] += weight
            share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group, share)

    def _move(
        self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any], share: float
    ) -> None:
        state, (beta1, beta2), lr = self.state[parameter], group["betas"], group["lr"]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["z"] = parameter.clone()
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        assert "y" not in state, "the averaged weights are in place: call train() first"
        state["step"] += 1
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = square.sqrt().div_(math.sqrt(1 - beta2 ** int(state["step"]))).add_(group["eps"])
        update = gradient.div(root).add_(parameter, alpha=group["weight_decay"])
        # y' = beta x' + (1 - beta) z' with x' = (1 - c) x + c z' and z' = z - lr u, written in y, z and u.
        parameter.lerp_(state["z"], share).add_(update, alpha=lr * (beta1 * (1 - share) - 1))
        state["z"].sub_(update, alpha=lr)
