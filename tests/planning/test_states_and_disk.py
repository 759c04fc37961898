"""Bytes of optimizer states, checkpoints and shares, beside real tensors and arithmetic."""

from __future__ import annotations

import pytest
import torch

from model_foundry.config.load import load_recipe
from model_foundry.config.schema import ExperimentConfig
from model_foundry.model import Vocabulary
from model_foundry.optim import Optimizer
from model_foundry.parts import known_parts
from model_foundry.planning.placement import StateBytes, on_each_device
from model_foundry.planning.states import state_bytes, weight_bytes, without_contents
from model_foundry.running.building import build_optimizer
from model_foundry.training.disk import CheckpointSizes, PlannedSave, disk_use

VOCABULARY = Vocabulary(64, eos_id=0)
TINY = ["model={type: gpt2, layers: 2, width: 16, heads: 2}", "data.context=8"]
AVERAGES = ["null", "{type: ema}", "{type: lawa, last: 3}"]
OPTIMIZERS = [f"{{type: {name}, learning_rate: 1e-3}}" for name in known_parts(Optimizer)]
OPTIMIZERS += [f"{{type: torch.optim.{name}, learning_rate: 1e-3}}" for name in ("RAdam", "NAdam", "Adagrad")]
OPTIMIZERS += ["{type: sgd, learning_rate: 1, momentum: 0.9}"]


def tiny(*overrides: str) -> ExperimentConfig:
    return load_recipe("demo", [*TINY, *overrides])


def bytes_after_a_real_step(config: ExperimentConfig) -> int:
    model = config.model.build(VOCABULARY, 8)
    optimizer = build_optimizer(config, model, {})
    model(torch.zeros(2, 8, dtype=torch.long)).logits.square().sum().backward()
    optimizer.step()
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_an_optimizer_is_what_a_real_step_leaves(optimizer: str, average: str):
    config = tiny(f"optimizer={optimizer}", f"averaging={average}")
    if average != "null" and "schedule_free" in optimizer:
        pytest.skip("averages its weights itself")
    model = without_contents(config.model.build(VOCABULARY, 8))

    assert state_bytes(config, model) == bytes_after_a_real_step(config)


def test_an_average_adds_what_it_says_to_the_bytes_a_parameter():
    model = without_contents(tiny().model.build(VOCABULARY, 8))
    parameters = sum(tensor.numel() for tensor in model.parameters())
    tensors = len(list(model.parameters()))

    found = [state_bytes(tiny(f"averaging={average}"), model) for average in AVERAGES]

    counters = 4 * tensors  # AdamW's count of steps, a float32 for each tensor
    assert [count - counters for count in found] == [8 * parameters, 12 * parameters, 24 * parameters]


def test_an_optimizer_that_cannot_step_without_contents_is_taken_for_one_with_two_moments(monkeypatch):
    def needs_contents(self: object, closure: object = None) -> None:
        raise NotImplementedError("this operation has no meta kernel")

    monkeypatch.setattr(torch.optim.Adagrad, "step", needs_contents)
    config = tiny("optimizer={type: torch.optim.Adagrad, learning_rate: 1e-3}")
    model = without_contents(config.model.build(VOCABULARY, 8))

    assert state_bytes(config, model) == 2 * weight_bytes(model)


def test_a_copy_without_contents_keeps_tied_weights_tied_and_the_model_as_it_is():
    model = tiny().model.build(VOCABULARY, 8)

    copy = without_contents(model)

    assert copy.get_output_embeddings().weight is copy.get_input_embeddings().weight
    assert {tensor.device.type for tensor in copy.parameters()} == {"meta"}
    assert {tensor.device.type for tensor in model.parameters()} == {"cpu"}
    assert (
        weight_bytes(copy) == weight_bytes(model) == 4 * sum(tensor.numel() for tensor in model.parameters())
    )


WHOLE = StateBytes(weights=4000, gradients=4000, optimizer=8000)


def test_ddp_has_everything_on_each_device_and_gradients_once_more():
    assert on_each_device(WHOLE, 1, "ddp") == on_each_device(WHOLE, 1, "fsdp2") == WHOLE
    assert on_each_device(WHOLE, 8, "ddp").total == 4000 + 4000 + 8000 + 4000


def test_fsdp2_divides_all_and_gathers_the_largest_unit():
    found = on_each_device(WHOLE, 3, "fsdp2", largest_unit_bytes=500)

    assert (found.weights, found.gradients, found.optimizer) == (1334, 1334, 2667)
    assert found.total == 1334 + 1334 + 2667 + 3 * 500


def test_a_number_of_devices_below_1_is_refused():
    with pytest.raises(ValueError, match="devices: 0, expected 1 or more"):
        on_each_device(WHOLE, 0, "ddp")


SIZES = CheckpointSizes(weights=100, state=200, beside=10)


def test_milestones_keep_their_weights_and_rolling_states_go():
    saves = [
        PlannedSave(0, True, True),
        *(PlannedSave(n, True, False) for n in (1, 2, 3)),
        PlannedSave(4, True, True),
    ]

    found = disk_use(saves, SIZES, keep_resumable=2)

    # In the end: 3 and 4 whole, 0 as weights. At most, while 3 or 4 is written: three whole and one light.
    assert (found.left_resumable, found.left_weights) == (2, 1)
    assert found.left_bytes == 2 * 310 + 110
    assert found.most_bytes == 3 * 310 + 110


def test_checkpoints_of_weights_alone_never_hold_a_state():
    saves = [PlannedSave(0, True, True), PlannedSave(1, False, True), PlannedSave(2, False, True)]

    found = disk_use(saves, SIZES, keep_resumable=1)

    assert (found.left_resumable, found.left_weights, found.left_bytes) == (1, 2, 310 + 2 * 110)
    assert disk_use([], SIZES, keep_resumable=1).most_bytes == 0
