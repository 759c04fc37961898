"""Whether the copies of the weights that data-parallel processes hold are still the same."""

from __future__ import annotations

from collections import Counter

import torch
from accelerate import Accelerator

from model_foundry.errors import ModelFoundryError

_WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def require_equal_replicas(accelerator: Accelerator, model: torch.nn.Module, update: int) -> None:
    """Compare the bits of every parameter across the processes.

    Each process sums the bits of each parameter as integers, plain and weighted by their place, so that one
    flipped bit shows; two integers a parameter are sent.

    Args:
        accelerator: The run's; with one process there is nothing to compare.
        model: The model, whole in every process.
        update: Updates done, for the message.

    Raises:
        ModelFoundryError: Naming the parameter and the processes that differ from most.
    """
    if accelerator.num_processes == 1:
        return
    named = list(model.named_parameters())
    mine = torch.stack([_sums(parameter.detach()) for _, parameter in named])
    everyone = accelerator.gather(mine[None]).tolist()
    for place, (name, _) in enumerate(named):
        sums = [tuple(process[place]) for process in everyone]
        if len(set(sums)) == 1:
            continue
        usual = Counter(sums).most_common(1)[0]
        others = [rank for rank, found in enumerate(sums) if found != usual[0]]
        who = f"rank {', '.join(map(str, others))}" if usual[1] > 1 else "each rank"
        whose = f"{name.removeprefix('module.')} of {who}"
        raise ModelFoundryError(
            f"the copies of the weights differ after update {update}: {whose} is not what the others hold. "
            "A device that computes wrongly does this, or code that draws random numbers of its own. Look at "
            "that machine, then go on with --resume-from a checkpoint before it.",
            reason="replicas_differ",
        )


def _sums(parameter: torch.Tensor) -> torch.Tensor:
    bits = parameter.contiguous().view(_WIDTHS[parameter.element_size()]).flatten().to(torch.int64)
    places = torch.arange(1, len(bits) + 1, device=bits.device)
    return torch.stack([bits.sum(), (bits * places).sum()])
