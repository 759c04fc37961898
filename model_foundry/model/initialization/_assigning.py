"""Gives every parameter of a model what it is drawn from: the initialisation's rule, else what is usual."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from model_foundry.model._kinds import Tensor, neutral_weight, tensors_of
from model_foundry.model.initialization import Drawing
from model_foundry.model.initialization._distributions import (
    Constant,
    Distribution,
    Fixed,
    LogUniform,
    TimeStep,
    Uniform,
)

Rule = Callable[[Tensor], Distribution | None]
"""What a tensor is drawn from; None where the initialisation has nothing to say of its kind."""

DRAWN_MATRICES = ("embedding", "output", "matrix", "residual", "router")
"""Kinds that every initialisation must speak of."""


def assign(model: PreTrainedModel, rule: Rule) -> list[Drawing]:
    """Return what every parameter is drawn from, in the order of ``named_parameters``.

    Raises:
        RecipeError: When the model holds a parameter of no known kind.
    """
    return [
        Drawing(
            tensor.name, tensor.kind, tensor.parameter, rule(tensor) or usual(tensor, model), tensor.zero_row
        )
        for tensor in tensors_of(model)
    ]


def usual(tensor: Tensor, model: PreTrainedModel) -> Distribution:
    """Return what a tensor of an odd kind is drawn from, whichever the initialisation.

    Biases are 0 and norms scale by 1; convolutions and recurrent layers are as torch makes them; state-space
    layers as their authors do (``mamba`` has the sources).
    """
    owner, field = tensor.owner, tensor.field
    if tensor.kind == "bias":
        return Constant(0.0)
    if tensor.kind == "norm":
        return Constant(neutral_weight(owner, field))
    if tensor.kind == "fixed":
        return Fixed(owner.fixed_values()[field])  # type: ignore[operator]
    if tensor.kind == "convolution":
        return Uniform(1 / math.sqrt(tensor.fan_in))
    if tensor.kind == "recurrent":
        return Uniform(1 / math.sqrt(owner.hidden_size))  # type: ignore[arg-type]
    if tensor.kind == "skip":
        return Constant(1.0)
    if tensor.kind == "time_step":
        return TimeStep(1e-3, 1e-1, 1e-4)
    if tensor.kind == "time_step_projection":
        return Uniform(1 / math.sqrt(tensor.fan_in))
    assert tensor.kind == "state", f"the initialisation says nothing of {tensor.kind} tensors: {tensor.name}"
    return _decay_rates(tensor.parameter)


def _decay_rates(parameter: torch.Tensor) -> Distribution:
    """Return the start of log A: of 1 to N for a state of N numbers a channel, of [1, 16] for one a head.

    The first is S4D-real (Gu et al. 2022, arXiv 2206.11893), the second Mamba-2's own.
    """
    if parameter.ndim == 1:
        return LogUniform(1.0, 16.0)
    rates = torch.arange(1, parameter.shape[-1] + 1, dtype=torch.float32).log()
    return Fixed(rates.expand(parameter.shape))
