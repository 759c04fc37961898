"""What a run whose tensors lie in parts (FSDP2) does otherwise, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from accelerate.utils import DistributedType

from model_foundry.errors import RecipeError
from model_foundry.objective._cross_entropy import output_layer
from model_foundry.running.whole_model import WholeModel
from model_foundry.training.disk import CheckpointSizes

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig


def is_in_parts(accelerator: Accelerator) -> bool:
    """Whether what the accelerator prepares lies in parts."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def require_shardable(config: ExperimentConfig, accelerator: Accelerator) -> None:
    """Refuse what is not right yet where tensors lie in parts, and DeepSpeed altogether.

    Accelerate 1.15 hands DeepSpeed every backward pass as the last one of an update, and leaves step,
    clipping and accumulation to it (``DeepSpeedEngineWrapper.backward``).

    Raises:
        RecipeError: Naming all of it.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise RecipeError(
            "this placement is DeepSpeed, which takes the optimizer's step inside each backward pass: every "
            "micro-batch would be an update of its own, at the learning rate of the one before, clipped as "
            "its own configuration says, and applied before anybody looks whether it is finite. Take fsdp2, "
            "which makes the same cut as ZeRO 3, or ddp."
        )
    if not is_in_parts(accelerator):
        return
    plugin, problems = accelerator.state.fsdp_plugin, []
    if plugin.fsdp_version != 2:
        problems.append("fsdp_config.fsdp_version is 1, expected 2: the first version is not served")
    if plugin.state_dict_type.name != "SHARDED_STATE_DICT":
        problems.append(
            f"fsdp_config.fsdp_state_dict_type is {plugin.state_dict_type.name}, expected SHARDED_STATE_DICT"
        )
    if config.checkpoints.background:
        problems.append("checkpoints.background copies whole tensors; set it to false")
    if config.training.replica_check is not None:
        problems.append("training.replica_check compares copies, and there is one of each part; leave it out")
    if config.training.precision == "fp16":
        problems.append("training.precision fp16 was not tried on parts; use bf16")
    if config.training.compile:
        problems.append("training.compile was not tried on parts; set it to false")
    if not config.optimizer.shards:
        problems.append(
            f"optimizer {config.optimizer.part_name()} needs whole tensors, or was not tried with parts; "
            "choose one that works on parts, such as adamw"
        )
    if problems:
        raise RecipeError(
            "this placement keeps weights and optimizer in parts (FSDP), which does not go with:\n  "
            + "\n  ".join(problems)
            + "\nChange these, or take a placement with whole copies, such as ddp."
        )


@dataclass(frozen=True)
class Measured:
    """The model that is measured, and how it gets its weights."""

    model: PreTrainedModel
    filled: Callable[[], AbstractContextManager[None]] = nullcontext
    try_out: Callable[[], object] = lambda: None
    """Finds out what an objective would by itself, in a forward pass that all processes make together."""


def measured_model(model: PreTrainedModel, accelerator: Accelerator) -> Measured:
    """Return what is measured in place of a model that will lie in parts; it is not placed yet.

    Raises:
        RecipeError: When it cannot lie in parts.
    """
    if not is_in_parts(accelerator):
        return Measured(model)
    if any(isinstance(module, torch.nn.RNNBase) for module in model.modules()):
        raise RecipeError(
            f"model: torch's recurrent layers, which a {type(model).__name__} has, keep their weights whole, "
            "and this placement keeps them in parts (FSDP). Take one with whole copies, such as ddp."
        )
    whole, device = WholeModel(model), torch.device(accelerator.device)
    return Measured(whole.model, lambda: whole.filled_from(model, device), lambda: output_layer(model))


def sizes_in_parts(sizes: CheckpointSizes, accelerator: Accelerator) -> CheckpointSizes:
    """Return the sizes of checkpoints, which hold the weights twice where they lie in parts."""
    return replace(sizes, state=sizes.state + sizes.weights) if is_in_parts(accelerator) else sizes
