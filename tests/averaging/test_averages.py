"""Averages of weights beside the formulas, and what they leave alone."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import nn

from model_foundry.averaging import Averaging
from model_foundry.averaging._kept import mean
from model_foundry.averaging.ema import ExponentialMovingAverage
from model_foundry.averaging.lawa import LatestWeightAverage
from model_foundry.errors import RecipeError
from model_foundry.optim import Optimizer
from model_foundry.optim.adamw import AdamW
from model_foundry.optim.muon import Muon
from model_foundry.optim.schedule_free import ScheduleFree
from model_foundry.optim.sgd import SGD


class Model(nn.Module):
    """Two layers and a norm with buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.norm(self.first(x)))
        return y


def start(averaging: Averaging, optimizer: Optimizer | None = None) -> tuple[Model, Any]:
    model = Model()
    return model, averaging.around((optimizer or AdamW(learning_rate=0.1)).build(model))


def go_on(model: Model, optimizer: Any, updates: range) -> list[list[torch.Tensor]]:
    """Train and return the parameters after each update."""
    seen = []
    for update in updates:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(update))
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append([parameter.detach().clone() for parameter in model.parameters()])
    return seen


def averages(model: Model, optimizer: Any) -> list[torch.Tensor]:
    return [optimizer.state[parameter]["average"] for parameter in model.parameters()]


def test_the_moving_average_is_the_recursion_from_the_initial_weights() -> None:
    model, optimizer = start(ExponentialMovingAverage(decay=0.75))
    expected = [parameter.detach().clone() for parameter in model.parameters()]

    for weights in go_on(model, optimizer, range(5)):
        expected = [0.75 * one + 0.25 * now for one, now in zip(expected, weights, strict=True)]

    for found, one in zip(averages(model, optimizer), expected, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-6, atol=1e-7)


def test_lawa_is_the_mean_of_the_latest_at_their_spacing() -> None:
    model, optimizer = start(LatestWeightAverage(last=3, every=2))

    seen = go_on(model, optimizer, range(1))
    assert all(map(torch.equal, averages(model, optimizer), seen[0]))  # before the first: the weights
    seen += go_on(model, optimizer, range(1, 4))
    two = [torch.stack(pair).double().mean(0).float() for pair in zip(seen[1], seen[3], strict=True)]
    assert all(map(torch.equal, averages(model, optimizer), two))
    seen += go_on(model, optimizer, range(4, 11))

    latest = zip(seen[5], seen[7], seen[9], strict=True)
    for found, three in zip(averages(model, optimizer), latest, strict=True):
        assert torch.equal(found, torch.stack(three).double().mean(0).float())


def test_the_mean_of_one_is_itself_and_of_equal_ones_is_each_of_them() -> None:
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0))

    for count in (1, 3, 7, 11):
        assert torch.equal(mean(weights.repeat(count, 1)), weights)


@pytest.mark.parametrize("averaging", [ExponentialMovingAverage(), LatestWeightAverage(last=2, every=1)])
@pytest.mark.parametrize(
    "optimizer", [AdamW(learning_rate=0.1), Muon(learning_rate=0.1), SGD(learning_rate=0.1)]
)
def test_the_steps_are_those_without_an_average(averaging: Averaging, optimizer: Optimizer) -> None:
    alone = Model()
    expected = go_on(alone, optimizer.build(alone), range(4))

    model, averaged = start(averaging, optimizer)
    found = go_on(model, averaged, range(4))

    assert all(torch.equal(*pair) for pair in zip(found[-1], expected[-1], strict=True))


@pytest.mark.parametrize(
    "averaging",
    [ExponentialMovingAverage(decay=0.5, use=True), LatestWeightAverage(last=3, every=2, use=True)],
)
def test_an_average_that_is_read_again_goes_on_to_the_same_bits(averaging: Averaging) -> None:
    model, optimizer = start(averaging)
    go_on(model, optimizer, range(5))
    optimizer.eval()
    memory = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, memory)
    optimizer.train()
    go_on(model, optimizer, range(5, 9))
    memory.seek(0)
    saved = torch.load(memory, weights_only=True)

    again, loaded = start(averaging)
    again.load_state_dict(saved["model"])
    loaded.load_state_dict(saved["optimizer"])
    loaded.train()
    go_on(again, loaded, range(5, 9))

    assert all(map(torch.equal, again.parameters(), model.parameters()))
    assert all(map(torch.equal, averages(again, loaded), averages(model, optimizer)))


def test_averaged_weights_take_the_place_of_the_trained_ones_and_buffers_stay() -> None:
    model, optimizer = start(ExponentialMovingAverage(decay=0.5, use=True))
    go_on(model, optimizer, range(3))
    trained = [parameter.detach().clone() for parameter in model.parameters()]
    buffers = [buffer.clone() for buffer in model.buffers()]

    optimizer.eval()
    used = [parameter.detach().clone() for parameter in model.parameters()]
    is_left_alone = all(map(torch.equal, model.buffers(), buffers))
    optimizer.train()

    assert all(map(torch.equal, used, averages(model, optimizer)))
    assert not any(map(torch.equal, used, trained))
    assert is_left_alone
    assert all(map(torch.equal, model.parameters(), trained))


def test_without_use_the_trained_weights_stay_in_place() -> None:
    model, optimizer = start(ExponentialMovingAverage(decay=0.5))
    [*_, trained] = go_on(model, optimizer, range(3))

    optimizer.eval()

    assert all(map(torch.equal, model.parameters(), trained))


def test_a_tied_weight_has_one_average() -> None:
    model = Model()
    model.extra = nn.Linear(3, 4)
    model.extra.weight = model.first.weight
    optimizer = ExponentialMovingAverage().around(AdamW(learning_rate=0.1).build(model))

    go_on(model, optimizer, range(1))

    assert sum(parameter is model.first.weight for parameter in optimizer.state) == 1


def test_an_optimizer_that_averages_itself_is_not_averaged_again() -> None:
    with pytest.raises(
        RecipeError, match=r"averaging: AveragedAdam averages its weights itself\. Leave averaging"
    ):
        start(ExponentialMovingAverage(), ScheduleFree(learning_rate=0.1))
