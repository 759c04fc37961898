"""Losses of a mixture of experts' routers: even use of the experts, and small router logits.

Shape letters: N places, K counted ones, E experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from model_foundry.errors import RecipeError
from model_foundry.objective import LossSum


def add(
    loss: LossSum, output: Any, model: torch.nn.Module, counted_BT: torch.Tensor, weights: dict[str, float]
) -> LossSum:
    """Return the loss with the weighted router losses in its total and beside it.

    Each is a mean over layers and counted places, times the number of these: a sum, as all losses are. The
    load-balancing loss of a micro-batch is that of its own places, since the product of two means is no sum.

    Raises:
        RecipeError: When the model has no routers.
    """
    layers = getattr(output, "router_logits", None)
    if not layers:
        raise RecipeError(
            f"objective: {' and '.join(weights)} are of mixtures of experts, and {type(model).__name__} "
            "gives no router logits. Set them to 0, or choose a mixture of experts such as OlmoeConfig."
        )
    counted_N = counted_BT.flatten()
    num_chosen = _config_of(model).num_experts_per_tok
    extras = dict(loss.extras)
    total = loss.total
    of_layers: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "load_balancing": lambda logits_KE: load_balancing(logits_KE, num_chosen),
        "router_z_loss": lambda logits_KE: logits_KE.logsumexp(-1).square().mean(),
    }
    for name, weight in weights.items():
        if weight and bool(counted_N.any()):
            values = [of_layers[name](logits_NE.float()[counted_N]) for logits_NE in layers]
            value = weight * torch.stack(values).mean() * counted_N.sum()
            total, extras[name] = total + value, value.detach()
    return LossSum(total, loss.nats, extras)


def load_balancing(logits_KE: torch.Tensor, num_chosen: int) -> torch.Tensor:
    """Return E * sum_e f_e P_e of one layer (Fedus et al. 2021, arXiv 2101.03961, equations 4 to 6).

    f_e is the share of places that send their token to expert e, P_e the mean probability of e; where each
    place chooses k experts, the least value is k.
    """
    probabilities_KE = logits_KE.softmax(-1)
    chosen_Kk = probabilities_KE.topk(num_chosen, dim=-1).indices
    num_experts = logits_KE.shape[-1]
    shares_E = torch.bincount(chosen_Kk.flatten(), minlength=num_experts) / len(logits_KE)
    return num_experts * (shares_E * probabilities_KE.mean(0)).sum()


def _config_of(model: Any) -> Any:
    while not hasattr(model, "config"):
        model = model.module
    return model.config
