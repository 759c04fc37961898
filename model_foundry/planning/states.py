"""Bytes of weights and of the optimizer's state, from a model and an optimizer without contents.

The optimizer takes one step on torch's meta device, where tensors have shapes and no memory; what lies in its
state afterwards is counted. So every optimizer is right by itself, averages and unusual parts included.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model_foundry.running.building import build_optimizer
from model_foundry.training.disk import CheckpointSizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig

_BYTES_BESIDE = 48 * 1024
"""Records of the run, model configuration, manifest and random states: 30 to 60 kB."""

_BYTES_A_TENSOR = 512
"""What a file of tensors says of each of them: name, shape, place."""


def without_contents(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of a model on the meta device; its parameters take no memory, and tied ones stay tied."""
    emptied = {
        id(tensor): torch.nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
        for tensor in model.parameters()
    }
    return copy.deepcopy(model, dict[int, Any](emptied))


def state_bytes(config: ExperimentConfig, model: PreTrainedModel) -> int:
    """Return the bytes of the optimizer's state after its first step, averages of the weights included.

    A library's optimizer that needs contents for its step is taken for one with two moments, as most have.

    Args:
        config: Its optimizer and averaging.
        model: On the meta device.
    """
    optimizer = build_optimizer(config, model, {})
    with torch.no_grad(), Pretence():  # type: ignore[no-untyped-call]
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        try:
            optimizer.step()
        except (RuntimeError, ArithmeticError, TypeError, ValueError):
            return 2 * weight_bytes(model)
        finally:
            optimizer.zero_grad()
    return bytes_of_state(optimizer)


def bytes_of_state(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of all tensors in an optimizer's state; memory that several share counts once."""
    seen: dict[int, int] = {}
    for tensor in _tensors(list(optimizer.state.values())):
        storage = tensor.untyped_storage()
        seen[storage._cdata] = storage.nbytes()
    return sum(seen.values())


def checkpoint_sizes(config: ExperimentConfig, model: PreTrainedModel, tokenizer: Path) -> CheckpointSizes:
    """Return how large the run's checkpoints will be.

    Args:
        config: The recipe.
        model: On the meta device.
        tokenizer: Folder whose files go into every checkpoint; one that is not there counts nothing.
    """
    files = tokenizer.iterdir() if tokenizer.is_dir() else ()
    tensors = len(list(model.parameters()))
    carried = sum(layers * size for layers, size in config.model.carried_shapes)
    return CheckpointSizes(
        weights=weight_bytes(model) + _BYTES_A_TENSOR // 4 * tensors,
        state=state_bytes(config, model)
        + 2 * _BYTES_A_TENSOR * tensors
        + 4 * carried * config.training.batch_size,
        beside=sum(file.stat().st_size for file in files) + _BYTES_BESIDE,
    )


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of the unique parameters: a tied weight counts once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


class Pretence(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what only contents could answer: a number read from a tensor is one half, 1, or true."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, or answer in place of it."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return pretended(args[0].dtype)
        return func(*args, **(kwargs or {}))


def pretended(dtype: torch.dtype) -> bool | int | float:
    """Return the number that a tensor without contents is said to hold."""
    if dtype == torch.bool:
        return True
    return 0.5 if dtype.is_floating_point else 1


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
