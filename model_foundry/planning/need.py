"""The memory that a run needs on each device, and what changes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from model_foundry.config.plan import RunPlan
from model_foundry.planning.base import HOLES
from model_foundry.planning.corpus import Text
from model_foundry.planning.memory import Shape, trace
from model_foundry.planning.placement import Placement, StateBytes, on_each_device
from model_foundry.planning.tracing import Bytes, Traced

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.planning.devices import Device


@dataclass(frozen=True)
class Memory:
    """Bytes of one device, or of one process on a CPU."""

    where: str
    bytes: int
    """At its fullest."""

    base_bytes: int
    """On a CPU: interpreter and libraries, measured. 0 on an accelerator, whose own context comes on top."""

    holes_bytes: int
    """What lies between tensors that came and went; on a CPU alone."""

    updates: Bytes
    evaluations: Bytes
    """By kind, at the fullest moment of each."""

    changes: dict[str, int]
    """The bytes with one setting changed."""

    available_bytes: int | None
    measured_bytes: int | None = None
    """Of a probe."""


def needed_memory(
    config: ExperimentConfig,
    text: Text,
    plan: RunPlan,
    model: PreTrainedModel,
    *,
    placement: Placement,
    device: Device | None,
    base: Callable[[], int],
) -> Memory:
    """Return what one of the plan's devices holds at its fullest.

    Args:
        config: The recipe.
        text: Vocabulary, and how full windows are.
        plan: Micro-batches and devices.
        model: On the meta device.
        placement: How several devices share the state.
        device: One of the table; None for this machine's.
        base: Measures what a process takes beside its tensors, on a CPU.
    """
    shape = Shape(
        text.vocabulary, text.tokens, plan.micro_batch_size, plan.rounds_per_update, text.filled_share
    )
    unit = largest_unit_bytes(model)
    on_cpu = device is None and not torch.cuda.is_available() and not torch.backends.mps.is_available()
    base_here = base() if on_cpu else 0

    def placed(traced: Traced) -> tuple[int, int]:
        """Return the bytes of the fullest moment on one device, and those of holes."""
        holes = max(0, round(HOLES * traced.heap_bytes) - traced.most_bytes()) if on_cpu else 0
        most = max(_on_a_device(kinds, plan.processes, placement, unit) for kinds in traced.fullest.values())
        return base_here + most + holes, holes

    traced = trace(config, shape)
    total, holes = placed(traced)
    where, available = _available(device, on_cpu=on_cpu)
    return Memory(
        where=where,
        bytes=total,
        base_bytes=base_here,
        holes_bytes=holes,
        updates=traced.fullest["updates"],
        evaluations=traced.fullest.get("evaluations", {}),
        changes={
            change: placed(trace(other, other_shape))[0]
            for change, other, other_shape in _changes(config, shape)
        },
        available_bytes=available,
    )


def _changes(config: ExperimentConfig, shape: Shape) -> list[tuple[str, ExperimentConfig, Shape]]:
    """Return recipes that differ in one setting on which memory depends."""
    training = config.training
    found = []
    if shape.micro_batch_size > 1:
        half = shape.micro_batch_size // 2
        found.append(
            (f"training.micro_batch_size={half}", config, replace(shape, micro_batch_size=half, rounds=2))
        )

    def changed(**values: Any) -> ExperimentConfig:
        return config.model_copy(update={"training": training.model_copy(update=values)})

    if not training.gradient_checkpointing and _can_recompute(config, shape):
        found.append(("training.gradient_checkpointing=true", changed(gradient_checkpointing=True), shape))
    other = "bf16" if training.precision == "fp32" else "fp32"
    found.append((f"training.precision={other}", changed(precision=other), shape))
    return found


def _can_recompute(config: ExperimentConfig, shape: Shape) -> bool:
    with torch.device("meta"):
        model = config.model.build(shape.vocabulary, config.data.context)
    return bool(model.supports_gradient_checkpointing)


def _on_a_device(kinds: dict[Any, int], devices: int, placement: Placement, unit: int) -> int:
    whole = StateBytes(kinds["weights"], kinds["gradients"], kinds["optimizer"])
    state = on_each_device(whole, devices, placement, largest_unit_bytes=unit)
    return state.total + kinds["activations"] + kinds["logits"]


def largest_unit_bytes(model: torch.nn.Module) -> int:
    """Return the weights of the largest piece that is gathered at once: a layer, or all that is in none."""
    layers = [
        layer for module in model.modules() if isinstance(module, torch.nn.ModuleList) for layer in module
    ]
    inside = {parameter for layer in layers for parameter in layer.parameters()}
    rest = sum(tensor.nbytes for tensor in model.parameters() if tensor not in inside)
    return max([rest, *(sum(tensor.nbytes for tensor in layer.parameters()) for layer in layers)])


def _available(device: Device | None, *, on_cpu: bool) -> tuple[str, int | None]:
    if device is not None:
        return device.name, device.memory * 10**9
    if on_cpu:
        import psutil

        return "this machine", int(psutil.virtual_memory().total)
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), int(torch.cuda.get_device_properties(0).total_memory)
    return "this machine's accelerator", None
