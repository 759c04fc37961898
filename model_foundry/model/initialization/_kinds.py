"""Tells the kinds of parameters of a transformers model apart, whatever its architecture calls them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from model_foundry.errors import RecipeError

Kind = Literal["matrix", "residual", "bias", "norm"]

# The last layer of an attention or feed-forward branch, by the names that architectures give it.
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
    "Wo",
)


def layers_of(model: PreTrainedModel) -> int:
    """Return the number of blocks.

    Raises:
        RecipeError: When the config does not say.
    """
    layers = getattr(model.config, "num_hidden_layers", None)
    if not isinstance(layers, int):
        raise RecipeError(
            f"initialization: {type(model).__name__} does not say how many layers it has "
            "(num_hidden_layers), and this initialisation scales by their number. "
            "Choose another architecture or initialisation."
        )
    return layers


def parameters_by_kind(model: PreTrainedModel) -> list[tuple[str, nn.Parameter, Kind]]:
    """Return name, parameter and kind, in the order of ``named_parameters``; a tied weight comes once.

    Raises:
        RecipeError: When a parameter is of no known kind, or the residual projections cannot be told.
    """
    found = [(name, parameter, _kind(model, name)) for name, parameter in model.named_parameters()]
    layers = layers_of(model)
    residual = sum(kind == "residual" for *_, kind in found)
    if residual < 2 * layers:
        raise RecipeError(
            f"initialization: {layers} layers should have {2 * layers} projections into the residual stream, "
            f"and {residual} of {type(model).__name__} are known by name. Choose another initialisation."
        )
    return found


def _kind(model: PreTrainedModel, name: str) -> Kind:
    path, _, field = name.rpartition(".")
    owner = model.get_submodule(path)
    owner_name = type(owner).__name__
    if field == "bias":
        return "bias"
    if field == "weight" and isinstance(owner, nn.Linear | Conv1D | nn.Embedding):
        return "residual" if path.endswith(RESIDUAL_SUFFIXES) else "matrix"
    if field == "weight" and "Norm" in owner_name:
        return "norm"
    if owner_name.endswith("Experts") and field.endswith("proj"):  # matrices of all experts, stacked
        return "residual" if field.endswith(RESIDUAL_SUFFIXES) else "matrix"
    if owner_name.endswith("Router") and field == "weight":
        return "matrix"
    raise RecipeError(
        f"initialization: no rule for the parameter {name} of a {owner_name} "
        f"(shape {tuple(model.get_parameter(name).shape)}); linear layers, embeddings, norms and experts are "
        "known. Choose another architecture or initialisation."
    )


def draw_normal(parameter: nn.Parameter, std: float, generator: torch.Generator) -> None:
    """Fill ``parameter`` from N(0, std), drawn where the generator is, so that placement changes nothing."""
    if parameter.device == generator.device:
        parameter.normal_(0.0, std, generator=generator)
    else:
        drawn = torch.empty(parameter.shape, device=generator.device)
        parameter.copy_(drawn.normal_(0.0, std, generator=generator))


def neutral_weight(model: PreTrainedModel, name: str) -> float:
    """Return the weight at which a norm scales by one: 1, or 0 where the class multiplies by (1 + weight).

    Gemma and its relatives do the latter; with zeros for parameters such a norm still gives something.
    """
    norm = model.get_submodule(name.rpartition(".")[0])
    zeros = {key: torch.zeros_like(parameter) for key, parameter in norm.named_parameters()}
    weight = zeros[name.rpartition(".")[2]]
    ramp = torch.arange(1.0, weight.numel() + 1, device=weight.device).view(weight.shape)
    return 0.0 if functional_call(norm, zeros, (ramp[None, None],)).any() else 1.0


def clear_padding_rows(model: PreTrainedModel) -> None:
    """Zero the padding token's embedding where the model has one, since it gets no gradient there."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()
