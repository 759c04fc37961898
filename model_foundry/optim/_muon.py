"""Torch's Muon and AdamW behind one optimizer: one list of groups, one state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from model_foundry.optim import Optimizer
from model_foundry.optim._groups import Kind, parameter_groups

Groups = list[dict[str, Any]]


class MuonWithAdamW(torch.optim.Optimizer):
    """Each group says in ``kind`` which of the two serves it; groups and state are this optimizer's own.

    The two inside are lent both before every step, since loading a state puts new ones in their place.
    """

    def __init__(
        self,
        muon: Groups,
        adamw: Groups,
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        scale: str,
        betas: tuple[float, float],
        eps: float,
        fused: bool,
    ) -> None:
        self._inside: dict[str, torch.optim.Optimizer] = {}
        if muon:
            self._inside["muon"] = torch.optim.Muon(
                muon, lr=lr, momentum=momentum, nesterov=nesterov, adjust_lr_fn=scale
            )
        if adamw:
            self._inside["adamw"] = torch.optim.AdamW(adamw, lr=lr, betas=betas, eps=eps, fused=fused)
        super().__init__([group for one in self._inside.values() for group in one.param_groups], {})

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # none is ever asked for
        """Let each of the two take its groups one step further."""
        for kind, one in self._inside.items():
            one.param_groups = [group for group in self.param_groups if group["kind"] == kind]
            one.state = self.state
            one.step()


def muon_groups(
    model: nn.Module,
    settings: Optimizer,
    factors: Mapping[str, float] | None,
    *,
    is_original: bool,
    adamw_factor: float,
) -> tuple[Groups, Groups]:
    """Return the groups of Muon and those of AdamW.

    Muon takes the weights of linear layers, apart from the output layer. GPT-2's ``Conv1D`` keeps them
    transposed: orthogonalisation does not mind, and ``scale: original``, which counts rows as outputs, is
    put right by the group's factors (the decay, which torch multiplies by the rate, stays as it is).

    Args:
        model: Whose trainable parameters.
        settings: The recipe's rules.
        factors: Factors of the learning rate by name.
        is_original: Whether torch scales by rows and columns.
        adamw_factor: AdamW's learning rate over Muon's.
    """
    hidden: dict[int, float] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            hidden[id(module.weight)] = 1.0
        elif isinstance(module, Conv1D):
            rows, columns = module.weight.shape
            hidden[id(module.weight)] = math.sqrt(columns / rows) if is_original else 1.0
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            hidden.pop(id(module.weight), None)  # an output layer that is tied to it
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None:
        hidden.pop(id(head.weight), None)

    def kind(parameter: nn.Parameter) -> Kind:
        factor = hidden.get(id(parameter))
        return ("adamw", adamw_factor, 1.0) if factor is None else ("muon", factor, 1 / factor)

    groups = parameter_groups(model, settings, factors, kind)
    muon = [group for group in groups if group["kind"] == "muon"]
    return muon, [group for group in groups if group["kind"] == "adamw"]
