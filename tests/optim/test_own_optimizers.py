"""LAMB, Lion, schedule-free AdamW and SGD against the formulas of their papers, written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model_foundry.optim.adafactor import Adafactor
from model_foundry.optim.lamb import Lamb
from model_foundry.optim.lion import Lion
from model_foundry.optim.schedule_free import ScheduleFree
from model_foundry.optim.sgd import SGD

GRADIENTS = [
    torch.tensor([[1.0, -2.0], [0.5, 3.0]]),
    torch.tensor([[-0.5, 1.0], [2.0, 0.25]]),
    torch.tensor([[0.1, -0.3], [-4.0, 1.0]]),
]


def layer(bias: bool = True) -> nn.Linear:
    model = nn.Linear(2, 2, bias=bias).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.3, -0.2], [0.8, 0.5]]))
        if bias:
            model.bias.copy_(torch.tensor([0.4, -0.6]))
    return model


def step(optimizer: torch.optim.Optimizer, model: nn.Linear, gradient: torch.Tensor) -> None:
    model.weight.grad = gradient.double()
    if model.bias is not None:
        model.bias.grad = gradient[0].double()
    optimizer.step()


def test_lamb_moves_weights_at_their_own_size_and_biases_as_adam_does() -> None:
    model = layer()
    optimizer = Lamb(learning_rate=0.1, betas=(0.8, 0.9), eps=0.01, weight_decay=0.5).build(model)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    sums = {"weight": [torch.zeros(2, 2), torch.zeros(2, 2)], "bias": [torch.zeros(2), torch.zeros(2)]}

    for number, gradient in enumerate(GRADIENTS, start=1):
        updates = {}
        for name, given in (("weight", gradient.double()), ("bias", gradient[0].double())):
            mean, square = sums[name]
            mean, square = 0.8 * mean + 0.2 * given, 0.9 * square + 0.1 * given**2
            sums[name] = [mean, square]
            updates[name] = (mean / (1 - 0.8**number)) / ((square / (1 - 0.9**number)).sqrt() + 0.01)
        whole = updates["weight"] + 0.5 * weight
        weight = weight - 0.1 * (weight.norm() / whole.norm()) * whole
        bias = bias - 0.1 * updates["bias"]
        step(optimizer, model, gradient)

    torch.testing.assert_close(model.weight.detach(), weight, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.bias.detach(), bias, rtol=1e-12, atol=0)


def test_lamb_moves_weights_that_are_zero_as_adam_does() -> None:
    model = layer(bias=False)
    nn.init.zeros_(model.weight)

    step(Lamb(learning_rate=0.1, eps=1e-12).build(model), model, GRADIENTS[0])

    torch.testing.assert_close(model.weight.detach(), -0.1 * GRADIENTS[0].sign().double())


def test_lion_goes_along_the_sign() -> None:
    model = layer()
    optimizer = Lion(learning_rate=0.1, betas=(0.6, 0.8), weight_decay=0.5).build(model)
    weight, mean = model.weight.detach().clone(), torch.zeros(2, 2)

    for gradient in GRADIENTS:
        direction = (0.6 * mean + 0.4 * gradient).sign()
        weight = weight - 0.1 * (direction + 0.5 * weight)
        mean = 0.8 * mean + 0.2 * gradient
        step(optimizer, model, gradient)

    torch.testing.assert_close(model.weight.detach(), weight, rtol=1e-6, atol=0)


def test_schedule_free_keeps_the_three_sequences_of_the_paper() -> None:
    model = layer(bias=False)
    optimizer: Any = ScheduleFree(learning_rate=0.1, betas=(0.7, 0.9), eps=0.01, weight_decay=0.5).build(
        model
    )
    x = z = model.weight.detach().clone()
    square, total, largest = torch.zeros(2, 2), 0.0, 0.0

    for number, (gradient, rate) in enumerate(zip(GRADIENTS, [0.05, 0.1, 0.08], strict=True), start=1):
        y = 0.3 * z + 0.7 * x
        square = 0.9 * square + 0.1 * gradient.double() ** 2
        z = z - rate * (gradient / ((square / (1 - 0.9**number)).sqrt() + 0.01) + 0.5 * y)
        largest = max(largest, rate)
        total += largest**2
        x = (1 - largest**2 / total) * x + largest**2 / total * z
        optimizer.param_groups[0]["lr"] = rate
        step(optimizer, model, gradient)

    torch.testing.assert_close(model.weight.detach(), 0.3 * z + 0.7 * x, rtol=1e-12, atol=0)
    optimizer.eval()
    torch.testing.assert_close(model.weight.detach(), x, rtol=1e-12, atol=0)


def test_schedule_free_gives_the_training_weights_back_to_the_last_bit() -> None:
    model = layer()
    optimizer: Any = ScheduleFree(learning_rate=0.1).build(model)
    optimizer.eval()  # before the first update there is nothing to exchange
    optimizer.train()
    for gradient in GRADIENTS:
        step(optimizer, model, gradient)
    before = model.weight.detach().clone()

    optimizer.eval()
    optimizer.eval()
    averaged = model.weight.detach().clone()
    optimizer.train()
    optimizer.train()

    assert not torch.equal(averaged, before)
    assert torch.equal(model.weight.detach(), before)


def test_sgd_with_momentum_by_hand() -> None:
    model = layer(bias=False)
    optimizer = SGD(learning_rate=0.1, momentum=0.5, weight_decay=0.2).build(model)
    weight, running = model.weight.detach().clone(), torch.zeros(2, 2)

    for gradient in GRADIENTS:
        running = 0.5 * running + gradient.double() + 0.2 * weight
        weight = weight - 0.1 * running
        step(optimizer, model, gradient)

    torch.testing.assert_close(model.weight.detach(), weight, rtol=1e-12, atol=0)


def test_sgd_refuses_to_look_ahead_without_momentum() -> None:
    with pytest.raises(ValidationError, match=r"give momentum, such as 0\.9"):
        SGD(learning_rate=0.1, nesterov=True)


def test_adafactors_first_step_is_the_clipped_one_of_the_paper() -> None:
    model = layer(bias=False)
    weight, gradient = model.weight.detach().clone(), GRADIENTS[0].double()

    step(Adafactor(learning_rate=0.01).build(model), model, GRADIENTS[0])

    square = gradient**2  # at update 1 the decay of the second moment is 0
    rows, columns = square.mean(dim=1, keepdim=True), square.mean(dim=0, keepdim=True)
    update = gradient / (rows * columns / rows.mean()).sqrt()
    update = update / max(1.0, float(update.square().mean().sqrt()))
    rate = 0.01 * math.sqrt(float(weight.square().mean()))
    torch.testing.assert_close(model.weight.detach(), weight - rate * update, rtol=1e-6, atol=0)
