"""Which parameters decay and how fast they learn, by kind and by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from model_foundry.errors import RecipeError
from model_foundry.optim.adamw import AdamW
from model_foundry.optim.lion import Lion
from model_foundry.running.records import describe_groups


class Small(nn.Module):
    """An embedding, two linear layers and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)


def treatments(optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    return {
        name: (group["lr_scale"], group["weight_decay"])
        for group in optimizer.param_groups
        for name in group["param_names"]
    }


def build(**fields: Any) -> torch.optim.Optimizer:
    return AdamW(learning_rate=1e-3, weight_decay=0.3, **fields).build(Small())


def test_olmo2_decays_norms_and_biases_and_leaves_embeddings_out() -> None:
    found = treatments(build(decay_embeddings=False, decay_norm_and_bias=True))

    assert found.pop("embedding.weight") == (1.0, 0.0)
    assert set(found.values()) == {(1.0, 0.3)}


def test_a_pattern_changes_the_rate_and_the_decay_of_what_it_matches() -> None:
    rules = [
        {"match": "*.bias", "learning_rate": 2},
        {"match": "first.*", "learning_rate": 0.5, "weight_decay": 0},
    ]

    found = treatments(build(groups=rules))

    assert found["first.weight"] == (0.5, 0.0)
    assert found["first.bias"] == (0.5, 0.0)  # the last rule that matches decides
    assert found["second.bias"] == (2.0, 0.0)
    assert found["second.weight"] == (1.0, 0.3)


def test_factors_of_a_parametrization_multiply_those_of_the_recipe() -> None:
    rules = [{"match": "first.*", "learning_rate": 0.5}]
    factors = {"first.weight": 0.25, "second.weight": 0.125}

    found = treatments(AdamW(learning_rate=1e-3, groups=rules).build(Small(), factors))

    assert found["first.weight"] == (0.125, 0.1)
    assert found["second.weight"] == (0.125, 0.1)
    assert found["first.bias"] == (0.5, 0.0)


def test_parameters_that_are_treated_alike_are_one_group() -> None:
    factors = {"first.weight": 0.5, "second.weight": 0.5}

    optimizer = AdamW(learning_rate=1e-3).build(Small(), factors)

    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2, 4]


def test_a_pattern_that_matches_nothing_is_refused_with_names() -> None:
    with pytest.raises(
        RecipeError,
        match=r"optimizer\.groups\.1\.match: 'head\.\*' matches no trainable parameter\. Write a pattern "
        r"such as '\*\.weight' that matches some of these: embedding\.weight, first\.weight",
    ):
        build(groups=[{"match": "first.*"}, {"match": "head.*"}])


def test_the_plan_tells_each_group() -> None:
    optimizer = Lion(
        learning_rate=1e-4, weight_decay=1.0, groups=[{"match": "first.*", "learning_rate": 0}]
    ).build(Small())

    described = describe_groups(optimizer)

    assert [(group["parameters"], group["learning_rate"], group["weight_decay"]) for group in described] == [
        (10, 1.0, 1.0),
        (4, 0.0, 1.0),
        (2, 0.0, 0.0),
        (6, 1.0, 0.0),
    ]
    assert described[0]["names"] == ["embedding.weight", "second.weight"]
