"""Accelerate's FSDP2 path on CPUs with gloo, for tests alone: Accelerate 1.15 would run DDP there.

What the package refuses stays refused: this stands in place of the launcher and of the GPUs.
"""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin


def install(**settings: Any) -> None:
    """Have this process's run build an accelerator that shards; for a process of its own."""
    from model_foundry.training import accelerator as building

    def build(*arguments: Any, **keywords: Any) -> Accelerator:
        made = Accelerator(*arguments, **keywords)
        as_fsdp2(made, **settings)
        return made

    building.Accelerator = build  # type: ignore[misc,assignment]


def as_fsdp2(accelerator: Accelerator, **settings: Any) -> None:
    """Turn an accelerator of several CPU processes into one that shards by the model's blocks."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", **settings
    )
    assert accelerator.device.type == "cpu"
    for shared in (AcceleratorState._shared_state, PartialState._shared_state):
        shared["distributed_type"] = DistributedType.FSDP
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    AcceleratorState._shared_state["fsdp_plugin"] = plugin
    assert accelerator.is_fsdp2
