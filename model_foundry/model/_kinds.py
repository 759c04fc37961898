"""Tells the tensors of a model apart by what they do, whatever its architecture calls them.

What is odd about an architecture of one's own is said where it is written, not here. The module that owns
such a parameter carries ``parameter_kinds``, a mapping from the parameter's name in it to a kind:

    class DepthWeightedAverage(nn.Module):
        parameter_kinds = {"weights": "fixed"}

        def fixed_values(self) -> dict[str, torch.Tensor]:
            return {"weights": ...}  # what training begins with, whichever the initialisation

A model whose layers do not have two branches into the residual stream says how many:
``residual_branches = 1``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from model_foundry.errors import RecipeError

Kind = Literal[
    "embedding",  # of tokens, positions, segments; also the output layer where it is tied to one
    "output",  # an untied output layer
    "matrix",  # any other linear layer
    "residual",  # the last linear layer of a branch into the residual stream
    "router",  # which scores the experts of a mixture
    "bias",
    "norm",  # what a norm multiplies by
    "convolution",
    "recurrent",  # weights and biases of an LSTM, GRU or RNN
    "state",  # log of the decay rates of a state-space layer (A)
    "skip",  # what a state-space layer multiplies its input by (D)
    "time_step",  # bias of a state-space layer's step
    "time_step_projection",  # weights of that step
    "fixed",  # whatever its module says in ``fixed_values``
]

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
STATE_SPACE: dict[str, Kind] = {"A_log": "state", "D": "skip", "dt_bias": "time_step"}
NO_FEED_FORWARD = ("att", "mixer", "mamba")
"""What the path of a layer's matrix holds that is not in the feed-forward."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """One parameter and what it is for."""

    name: str
    parameter: nn.Parameter
    kind: Kind
    owner: nn.Module
    """The module whose own parameter it is."""

    @property
    def field(self) -> str:
        """Its name in ``owner``."""
        return self.name.rpartition(".")[2]

    @property
    def layer(self) -> int | None:
        """Index of the layer that it is in, from 0 on; None outside of all layers."""
        return next((int(step) for step in self.name.split(".") if step.isdigit()), None)

    @property
    def in_feed_forward(self) -> bool:
        """Whether it is a matrix of a layer's feed-forward branch."""
        if self.kind not in ("matrix", "residual") or self.layer is None:
            return False
        return not any(word in step for step in self.name.split(".") for word in NO_FEED_FORWARD)

    @property
    def fan_in(self) -> int:
        """How many inputs each output of the layer sums over."""
        shape = self.parameter.shape
        if isinstance(self.owner, Conv1D):
            return int(shape[0])
        return int(math.prod(shape[1:]) if isinstance(self.owner, nn.Conv1d) else shape[-1])

    @property
    def zero_row(self) -> int | None:
        """Row of the padding token, which gets no gradient in an embedding."""
        return self.owner.padding_idx if isinstance(self.owner, nn.Embedding) else None


def tensors_of(model: PreTrainedModel) -> list[Tensor]:
    """Return every parameter in the order of ``named_parameters``, in which a tied weight stands once.

    Raises:
        RecipeError: When a parameter is of no known kind.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    found = []
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        kind: Kind = "output" if owner is head and name.endswith("weight") else _kind(name, parameter, owner)
        found.append(Tensor(name, parameter, kind, owner))
    return found


def _kind(name: str, parameter: nn.Parameter, owner: nn.Module) -> Kind:
    path, _, field = name.rpartition(".")
    stated = getattr(owner, "parameter_kinds", {}).get(field)
    if stated is not None:
        assert stated in get_args(Kind), f"{type(owner).__name__}.parameter_kinds: no kind is called {stated}"
        return stated  # type: ignore[no-any-return]
    owner_name = type(owner).__name__
    is_weight = field == "weight"
    if isinstance(owner, nn.RNNBase):
        return "recurrent"
    if field in STATE_SPACE:
        return STATE_SPACE[field]
    if path.endswith("dt_proj"):
        return "time_step" if field == "bias" else "time_step_projection"
    if field == "bias":
        return "bias"
    if is_weight and isinstance(owner, nn.Embedding):
        return "embedding"
    if is_weight and isinstance(owner, nn.Linear | Conv1D):
        return "residual" if path.endswith(RESIDUAL_SUFFIXES) else "matrix"
    if is_weight and isinstance(owner, nn.Conv1d):
        return "convolution"
    if is_weight and "Norm" in owner_name:
        return "norm"
    if owner_name.endswith("Experts") and field.endswith("proj"):  # matrices of all experts, stacked
        return "residual" if field.endswith(RESIDUAL_SUFFIXES) else "matrix"
    if owner_name.endswith("Router") and is_weight:
        return "router"
    raise RecipeError(
        f"initialization: no rule for the parameter {name} of a {owner_name} "
        f"(shape {tuple(parameter.shape)}); linear layers, embeddings, norms, experts, recurrent and "
        "state-space layers are known. Choose another architecture, or, in one of your own, name its kind in "
        f"{owner_name}.parameter_kinds."
    )


def layers_of(model: PreTrainedModel) -> int:
    """Return the number of blocks.

    Raises:
        RecipeError: When the config does not say.
    """
    return _number(model, "num_hidden_layers", "how many layers it has", "their number")


def width_of(model: PreTrainedModel) -> int:
    """Return the size of the residual stream.

    Raises:
        RecipeError: When the config does not say.
    """
    return _number(model, "hidden_size", "how wide it is", "the width")


def _number(model: PreTrainedModel, field: str, lacking: str, scale: str) -> int:
    number = getattr(model.config, field, None)
    if not isinstance(number, int):
        raise RecipeError(
            f"initialization: {type(model).__name__} does not say {lacking} ({field}), and this "
            f"initialisation scales by {scale}. Choose another architecture or initialisation."
        )
    return number


def require_residual(model: PreTrainedModel) -> None:
    """Complain when projections into the residual stream are missing, since they would be scaled wrongly.

    Raises:
        RecipeError: When fewer are known by name than the model's layers have.
    """
    layers = layers_of(model)
    branches = getattr(model, "residual_branches", 2 if hasattr(model.config, "num_attention_heads") else 1)
    found = sum(tensor.kind == "residual" for tensor in tensors_of(model))
    if found < branches * layers:
        raise RecipeError(
            f"initialization: {layers} layers should have {branches * layers} projections into the residual "
            f"stream, and {found} of {type(model).__name__} are known by name. "
            "Choose another initialisation."
        )


def neutral_weight(norm: nn.Module, field: str) -> float:
    """Return the weight at which a norm scales by one: 1, or 0 where the class multiplies by (1 + weight).

    Gemma and its relatives do the latter; with zeros for parameters such a norm still gives something.
    """
    zeros = {key: torch.zeros(weight.shape, device="cpu") for key, weight in norm.named_parameters()}
    weight = zeros[field]
    ramp = torch.arange(1.0, weight.numel() + 1, device="cpu").view(weight.shape)
    return 0.0 if functional_call(norm, zeros, (ramp[None, None],)).any() else 1.0
