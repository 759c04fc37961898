"""Every optimizer's state, written down and read again, goes on to the same bits."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import TypeAdapter

from model_foundry.model import Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.optim import Optimizer
from model_foundry.parts import PartOf, known_parts
from model_foundry.training.weights import weights_for_training, weights_for_use

NAMES = [*known_parts(Optimizer), "torch.optim.RMSprop", "torch.optim.NAdam"]
OWN = {"sgd": {"momentum": 0.9}, "torch.optim.RMSprop": {"momentum": 0.9}}


def start(name: str) -> tuple[torch.nn.Module, Any]:
    section = {"type": name, "learning_rate": 1e-2, "groups": [{"match": "*wpe*", "learning_rate": 0.5}]}
    part: Optimizer = TypeAdapter(PartOf[Optimizer]).validate_python({**section, **OWN.get(name, {})})
    model = small()
    accelerator = Accelerator(cpu=True)
    prepared: tuple[torch.nn.Module, Any] = accelerator.prepare(model, part.build(model))
    return prepared


def small() -> torch.nn.Module:
    model = GPT2(layers=1, width=8, heads=2, dropout=0.0).build(Vocabulary(11), 6)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


def go_on(model: torch.nn.Module, optimizer: Any, updates: range) -> None:
    for update in updates:
        ids = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(update))
        torch.nn.functional.cross_entropy(model(ids).logits.flatten(0, 1), ids.flatten()).backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (update + 1) * group.get("lr_scale", 1.0)
        optimizer.step()
        optimizer.zero_grad()


def copied(value: Any) -> Any:
    """What a file gives back that is read without code."""
    memory = io.BytesIO()
    torch.save(value, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_is_read_again_goes_on_to_the_same_bits(name: str) -> None:
    model, optimizer = start(name)
    go_on(model, optimizer, range(3))
    with weights_for_use(optimizer):  # as the loop saves
        saved = copied({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    go_on(model, optimizer, range(3, 6))

    again, loaded = start(name)
    again.load_state_dict(saved["model"])
    loaded.load_state_dict(saved["optimizer"])
    weights_for_training(loaded)
    go_on(again, loaded, range(3, 6))

    initial = start(name)[0].state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert any(not torch.equal(initial[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_group_that_learns_at_no_rate_stays_as_it_is(name: str) -> None:
    section = {"type": name, "learning_rate": 1e-2, "groups": [{"match": "*wpe*", "learning_rate": 0}]}
    part: Optimizer = TypeAdapter(PartOf[Optimizer]).validate_python(section)
    model = small()
    before = model.get_parameter("transformer.wpe.weight").detach().clone()

    go_on(model, part.build(model), range(3))

    assert torch.equal(model.get_parameter("transformer.wpe.weight"), before)
