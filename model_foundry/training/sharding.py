"""Models whose tensors lie in parts on several processes (FSDP2): what is whole, what is a part, and of what.

Every process calls what gathers, or none does.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether the parameters of ``model`` lie in parts."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor: all of one that is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whole; all processes call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def as_part_of(whole: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a tensor that lies as ``parameter`` does; nothing is sent.

    A tensor of another shape is each process's own, but for several of the parameter's shape in a stack,
    which lies as they would.
    """
    if not isinstance(parameter, DTensor):
        return whole
    placements = placements_of(whole.shape, parameter)
    if placements is None:
        return whole
    whole = whole.to(parameter.device)
    return distribute_tensor(whole, parameter.device_mesh, placements, src_data_rank=None)


def room_for_part(shape: torch.Size, dtype: torch.dtype, parameter: torch.Tensor) -> torch.Tensor:
    """Return memory for this process's part of such a tensor; its values mean nothing."""
    placements = placements_of(shape, parameter)
    if placements is None:
        return torch.empty(shape, dtype=dtype)
    assert isinstance(parameter, DTensor)
    mesh = parameter.device_mesh
    return torch.distributed.tensor.empty(shape, dtype=dtype, device_mesh=mesh, placements=placements)


def placements_of(shape: torch.Size, parameter: torch.Tensor) -> list[Replicate | Shard] | None:
    """Return how a tensor of such a shape lies beside ``parameter``; None where each process has its own."""
    if not isinstance(parameter, DTensor):
        return None
    more = len(shape) - parameter.ndim
    if more not in (0, 1) or shape[more:] != parameter.shape:
        return None
    return [
        Shard(placement.dim + more) if isinstance(placement, Shard) else Replicate()
        for placement in parameter.placements
    ]


def whole_weights(model: torch.nn.Module, *, keep: bool) -> dict[str, torch.Tensor]:
    """Return parameters and lasting buffers whole, on the CPU, a tied weight once; all processes call this.

    One tensor is gathered at a time.

    Args:
        model: Sharded.
        keep: Whether this process wants them; else it returns nothing.
    """
    found = {}
    for name, tensor in lasting(model):
        whole = gathered(tensor.detach())
        if keep:
            found[name] = whole.cpu().contiguous()
    return found


def lasting(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what a checkpoint of a model holds, a tied weight once."""
    parameters = dict(model.named_parameters())
    yield from parameters.items()
    seen = set(map(id, model.parameters()))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name not in parameters and id(tensor) not in seen:
            yield name, tensor
