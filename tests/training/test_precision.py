"""Precisions that a device does not have, and what FSDP2 sums in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model_foundry.errors import RecipeError
from model_foundry.planning.devices import Device
from model_foundry.training.accelerator import reduce_in_float32, require_device_for
from model_foundry.training.loss_scale import LossScale
from model_foundry.training.nonfinite import Attempt


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_what_only_gpus_have_is_refused_without_one(precision: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"training\.precision: {precision} is a way of .*NVIDIA.*Use bf16 or"
    ):
        require_device_for(precision, has_cuda=False)

    require_device_for(precision, has_cuda=True)
    require_device_for("bf16", has_cuda=False)


def test_parts_compute_in_bf16_and_sum_in_float32() -> None:
    plugin = SimpleNamespace(mixed_precision_policy="Accelerate's")
    accelerator: Any = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin), mixed_precision="no")
    reduce_in_float32(accelerator)
    assert plugin.mixed_precision_policy == "Accelerate's"

    accelerator.mixed_precision = "bf16"
    reduce_in_float32(accelerator)

    policy = plugin.mixed_precision_policy
    found = (policy.param_dtype, policy.reduce_dtype, policy.output_dtype)
    assert found == (torch.bfloat16, torch.float32, torch.float32)


def attempt(nats: float) -> Attempt:
    return Attempt(0, [1, 1, 1, 0], 1, nats, float("inf"), is_finite=False)


def test_a_scale_is_lowered_where_it_can_be_the_cause_and_nowhere_else() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    inside = torch.optim.SGD([parameter], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizer: Any = SimpleNamespace(zero_grad=inside.zero_grad)
    optimizer.step = lambda: (scaler.step(inside), scaler.update())
    scale = LossScale(SimpleNamespace(scaler=scaler), optimizer)  # type: ignore[arg-type]

    def overflow() -> None:
        scaler.scale(parameter.sum()).backward()
        parameter.grad = parameter.grad * float("inf")

    overflow()
    assert not scale.was_lowered(attempt(float("nan")))
    assert scale.was_lowered(attempt(3.0))
    assert scale.read() == {"loss_scale": 1.0, "overflows": 1}
    assert parameter.item() == 1.0
    overflow()
    assert not scale.was_lowered(attempt(3.0))
    assert scale.read() == {"loss_scale": 1.0, "overflows": 0}
    assert LossScale(SimpleNamespace(scaler=None), optimizer).read() == {}  # type: ignore[arg-type]


def test_tf32_has_half_of_bf16_and_only_on_tensor_cores() -> None:
    a100 = Device("a100", half=312e12, single=19.5e12, memory=40, source="data sheet")
    cpu = Device("cpu", half=1e11, single=1e11, memory=8, source="none")

    assert [a100.flops_per_second(name) for name in ("tf32", "fp32", "bf16")] == [156e12, 19.5e12, 312e12]
    assert cpu.flops_per_second("tf32") == 1e11
