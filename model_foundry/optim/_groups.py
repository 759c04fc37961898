"""Which parameters decay: matrices do, vectors (biases, norms) do not, and embeddings as the recipe says."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FUSED_DEVICES = {"cpu", "cuda", "mps", "xpu"}


def decay_groups(model: nn.Module, *, weight_decay: float, decay_embeddings: bool) -> list[dict[str, Any]]:
    """Return the trainable parameters as groups for a torch optimizer, with their names.

    The order is that of ``named_parameters``, in which a tied weight stands once. Frozen parameters are in
    no group, and a group without parameters is left out.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[tuple[str, nn.Parameter]] = []
    exempt: list[tuple[str, nn.Parameter]] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_decayed = parameter.ndim >= 2 and (decay_embeddings or id(parameter) not in embeddings)
        (decayed if is_decayed else exempt).append((name, parameter))
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def has_fused_kernels(model: nn.Module) -> bool:
    """Whether torch's fused optimizers can serve ``model`` where it is and where it will be moved.

    The optimizer is built before the model is placed, so the machine's accelerator counts as well.
    """
    devices = {parameter.device.type for parameter in model.parameters()}
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None:
        devices.add(accelerator.type)
    return devices <= FUSED_DEVICES
