"""Which parameters decay and how fast they learn: by what they are, then by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from model_foundry.errors import RecipeError
from model_foundry.optim import GroupRule, Optimizer

FUSED_DEVICES = {"cpu", "cuda", "mps", "xpu"}
Kind = tuple[str, float, float]
"""What kind of group a parameter belongs to, with factors of its learning rate and of its weight decay."""


@dataclass(frozen=True)
class Treatment:
    """What the parameters of one group have in common."""

    kind: str
    weight_decay: float
    lr_scale: float


def parameter_groups(
    model: nn.Module,
    settings: Optimizer,
    factors: Mapping[str, float] | None = None,
    kind: Callable[[nn.Parameter], Kind] = lambda parameter: ("", 1.0, 1.0),
) -> list[dict[str, Any]]:
    """Return the trainable parameters as groups for a torch optimizer, with their names.

    The order is that of ``named_parameters``, in which a tied weight stands once; matrices that decay come
    first. Frozen parameters are in no group, and there is no group without parameters.

    Args:
        model: Whose parameters.
        settings: The recipe's rules.
        factors: Factors of the learning rate by name.
        kind: Tells what kind of group a parameter belongs to, where the optimizer has several.

    Raises:
        RecipeError: When a pattern matches nothing.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parameters = list(trainable(model))
    _require_matches(settings.groups, [name for name, _ in parameters])
    groups: dict[Treatment, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in parameters:
        if id(parameter) in embeddings:
            decays = settings.decay_embeddings
        else:
            decays = parameter.ndim >= 2 or settings.decay_norm_and_bias
        rule = next((rule for rule in reversed(settings.groups) if fnmatchcase(name, rule.match)), None)
        decay = settings.weight_decay if decays else 0.0
        if rule is not None and rule.weight_decay is not None:
            decay = rule.weight_decay
        group, rate_factor, decay_factor = kind(parameter)
        rate_factor *= (factors or {}).get(name, 1.0) * (rule.learning_rate if rule is not None else 1.0)
        treatment = Treatment(group, decay * decay_factor, rate_factor)
        groups.setdefault(treatment, []).append((name, parameter))
    decaying_first = sorted(groups, key=lambda treatment: treatment.weight_decay == 0)
    return [
        {"params": groups[treatment], "weight_decay": treatment.weight_decay, "lr_scale": treatment.lr_scale}
        | ({"kind": treatment.kind} if treatment.kind else {})
        for treatment in decaying_first
    ]


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that are trained, by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def has_fused_kernels(model: nn.Module) -> bool:
    """Whether torch's fused optimizers can serve ``model`` where it is and where it will be moved.

    The optimizer is built before the model is placed, so the machine's accelerator counts as well.
    """
    devices = {parameter.device.type for parameter in model.parameters()}
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None:
        devices.add(accelerator.type)
    return devices <= FUSED_DEVICES


def _require_matches(rules: list[GroupRule], names: list[str]) -> None:
    for index, rule in enumerate(rules):
        if not any(fnmatchcase(name, rule.match) for name in names):
            shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            raise RecipeError(
                f"optimizer.groups.{index}.match: '{rule.match}' matches no trainable parameter. "
                f"Write a pattern such as '*.weight' that matches some of these: {shown}."
            )
