"""Liger's fused linear cross-entropy (Hsu et al. 2024, arXiv 2410.10989), on CUDA where it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import torch


def serves(hidden_ND: torch.Tensor, label_smoothing: float) -> bool:
    """Whether its kernel is used: it does not tell smoothing from nats, so not where labels are smoothed."""
    return hidden_ND.is_cuda and not label_smoothing and find_spec("liger_kernel") is not None


def loss(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    targets_N: torch.Tensor,
    z_loss: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed loss with its gradient, and its parts (3: nats, smoothing, z-loss), detached."""
    functional = import_module("liger_kernel.transformers.functional")
    result = functional.liger_fused_linear_cross_entropy(
        hidden_ND,
        weight_VD,
        targets_N,
        bias=bias_V,
        lse_square_scale=z_loss,
        reduction="sum",
        return_z_loss=True,
    )
    # Version 0.6 gives a pair, later ones an object.
    total, of_z = (result.loss, result.z_loss) if hasattr(result, "loss") else result
    nats = total - of_z
    return total.float(), torch.stack([nats, torch.zeros_like(nats), of_z]).detach().float()
