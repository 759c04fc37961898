"""AdamW against arithmetic, and its groups: what decays, what does not, what is left alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model_foundry.model import Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.model.llama import Llama
from model_foundry.optim import _groups
from model_foundry.optim.adamw import AdamW


class Small(nn.Module):
    """An embedding, a linear layer and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.linear = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)


def names_by_decay(optimizer: torch.optim.Optimizer) -> dict[float, list[str]]:
    return {group["weight_decay"]: group["param_names"] for group in optimizer.param_groups}


def test_matrices_decay_and_vectors_do_not() -> None:
    optimizer = AdamW(learning_rate=1e-3, weight_decay=0.3).build(Small())

    assert names_by_decay(optimizer) == {
        0.3: ["embedding.weight", "linear.weight"],
        0.0: ["linear.bias", "norm.weight", "norm.bias"],
    }


def test_embeddings_decay_only_if_the_recipe_says_so() -> None:
    optimizer = AdamW(learning_rate=1e-3, decay_embeddings=False).build(Small())

    assert names_by_decay(optimizer) == {
        0.1: ["linear.weight"],
        0.0: ["embedding.weight", "linear.bias", "norm.weight", "norm.bias"],
    }


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_output_layer_is_optimized_once_and_counts_as_embedding(tied: bool) -> None:
    model = Llama(layers=1, width=8, heads=2, tie_embeddings=tied).build(Vocabulary(10), 4)

    optimizer = AdamW(learning_rate=1e-3, decay_embeddings=False).build(model)

    groups = names_by_decay(optimizer)
    assert ("lm_head.weight" in groups[0.1]) is not tied
    assert "model.embed_tokens.weight" in groups[0.0]
    optimized = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(optimized) == len(set(optimized)) == len(list(model.parameters()))


def test_frozen_parameters_belong_to_no_group() -> None:
    model = GPT2(layers=1, width=8, heads=2, bias=False).build(Vocabulary(10), 4)

    groups = names_by_decay(AdamW(learning_rate=1e-3).build(model))

    assert groups[0.0] == [
        "transformer.h.0.ln_1.weight",
        "transformer.h.0.ln_2.weight",
        "transformer.ln_f.weight",
    ]


def test_a_group_without_parameters_is_left_out() -> None:
    optimizer = AdamW(learning_rate=1e-3).build(nn.Linear(2, 2, bias=False))

    assert names_by_decay(optimizer) == {0.1: ["weight"]}


def test_two_updates_are_those_of_the_paper() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(3.0)
    optimizer = AdamW(learning_rate=0.1, betas=(0.8, 0.9), eps=0.01, weight_decay=0.5).build(model)

    expected = {"weight": 2.0, "bias": 3.0}
    mean = dict.fromkeys(expected, 0.0)
    square = dict.fromkeys(expected, 0.0)
    for update, gradient in enumerate([4.0, -1.0], start=1):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.full_like(parameter, gradient)
            mean[name] = 0.8 * mean[name] + 0.2 * gradient
            square[name] = 0.9 * square[name] + 0.1 * gradient**2
            decay = 0.5 if name == "weight" else 0.0
            direction = mean[name] / (1 - 0.8**update)
            direction /= math.sqrt(square[name] / (1 - 0.9**update)) + 0.01
            expected[name] = expected[name] * (1 - 0.1 * decay) - 0.1 * direction
        optimizer.step()

    assert model.weight.item() == pytest.approx(expected["weight"], rel=1e-6)
    assert model.bias.item() == pytest.approx(expected["bias"], rel=1e-6)


def test_one_kernel_serves_where_every_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = AdamW(learning_rate=1e-3).build(Small())

    assert all(group["fused"] for group in optimizer.param_groups)

    monkeypatch.setattr(_groups, "FUSED_DEVICES", {"cuda"})
    optimizer = AdamW(learning_rate=1e-3).build(Small())

    assert not any(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0}, "greater than 0"),
        ({"betas": (0.9, 1.0)}, "less than 1"),
        ({"betas": (0.9,)}, "betas.1\n.*Field required"),
        ({"eps": 0}, "greater than 0"),
        ({"weight_decay": -0.1}, "greater than or equal to 0"),
        ({"momentum": 0.9}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdamW(**{"learning_rate": 1e-3, **fields})
