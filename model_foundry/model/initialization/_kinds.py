"""Tells the kinds of parameters of a transformers model apart, whatever its architecture calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from model_foundry.errors import RecipeError

Kind = Literal["matrix", "residual", "zero", "norm"]

# The last layer of an attention or feed-forward branch, by the names that transformers' architectures give it.
RESIDUAL_SUFFIXES = (
    "c_proj",
    "o_proj",
    "out_proj",
    "down_proj",
    "dense_4h_to_h",
    "attention.dense",
    "self_attn.dense",
    "output.dense",
    "fc2",
    "fc_out",
)


def layers_of(model: PreTrainedModel) -> int:
    """Return the number of blocks.

    Raises:
        RecipeError: When the config does not say.
    """
    layers = getattr(model.config, "num_hidden_layers", None)
    if not isinstance(layers, int):
        raise RecipeError(
            f"initialization: {type(model).__name__} does not say how many layers it has (num_hidden_layers), "
            "and this initialisation scales by their number. Choose another architecture or initialisation."
        )
    return layers


def parameters_by_kind(model: PreTrainedModel) -> Iterator[tuple[str, nn.Parameter, Kind]]:
    """Yield name, parameter and kind, in the order of ``named_parameters``; a tied weight comes once.

    Raises:
        RecipeError: When a parameter is of no known kind, or the residual projections cannot be told.
    """
    kinds = [(name, parameter, _kind(model, name)) for name, parameter in model.named_parameters()]
    found, layers = sum(kind == "residual" for *_, kind in kinds), layers_of(model)
    if found < 2 * layers:
        raise RecipeError(
            f"initialization: of the {2 * layers} projections into the residual stream that {layers} layers have, "
            f"{found} are known by name in {type(model).__name__}. Choose another initialisation."
        )
    yield from kinds


def _kind(model: PreTrainedModel, name: str) -> Kind:
    path, _, field = name.rpartition(".")
    owner = model.get_submodule(path)
    if isinstance(owner, nn.Linear | Conv1D | nn.Embedding):
        if field == "bias":
            return "zero"
        if field == "weight":
            return "residual" if path.endswith(RESIDUAL_SUFFIXES) else "matrix"
    elif "Norm" in type(owner).__name__ and field in ("weight", "bias"):
        return "zero" if field == "bias" else "norm"
    raise RecipeError(
        f"initialization: no rule for the parameter {name} of a {type(owner).__name__} "
        f"(shape {tuple(model.get_parameter(name).shape)}); linear layers, embeddings and norms are known. "
        "Choose another architecture or initialisation."
    )


def draw_normal(parameter: nn.Parameter, std: float, generator: torch.Generator) -> None:
    """Fill ``parameter`` from N(0, std), drawn on the generator's device so that placement changes nothing."""
    if parameter.device == generator.device:
        parameter.normal_(0.0, std, generator=generator)
    else:
        drawn = torch.empty(parameter.shape, device=generator.device).normal_(0.0, std, generator=generator)
        parameter.copy_(drawn)


def set_to_identity(model: PreTrainedModel, name: str, weight: nn.Parameter) -> None:
    """Give a norm the weight at which it scales by one: 1, or 0 where the class multiplies by (1 + weight)."""
    norm = model.get_submodule(name.rpartition(".")[0])
    weight.zero_()
    ramp = torch.arange(1, weight.numel() + 1, dtype=weight.dtype, device=weight.device)
    if not norm(ramp[None, None]).any():
        weight.fill_(1.0)


def clear_padding_rows(model: PreTrainedModel) -> None:
    """Zero the padding token's embedding where the model has one, since it gets no gradient there."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()
