"""What a loaded state must equal before training goes on from it, and what can keep it from being exact."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_model

from model_foundry.errors import CheckpointError, DivergedError
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpoint_files import STATE_FOLDER, WEIGHTS, Checkpoint, is_in_parts
from model_foundry.training.environment import package_versions
from model_foundry.training.sharded_state import load_parts
from model_foundry.training.sharding import is_sharded, own_part
from model_foundry.training.weights import weights_for_training

log = logging.getLogger(__name__)

_SAME_FOR_EXACTNESS = {
    "world_size": "processes",
    "micro_batch_size": "windows a forward pass",
    "threads": "threads",
    "device": "device",
    "cpu_capability": "CPU instructions",
}


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Return what, beside the recipe, decides the last bits of every sum."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "versions": package_versions(),
    }


def load_weights(models: list[torch.nn.Module], state_folder: str) -> None:
    """Accelerate's hook: the weights lie beside the state, not in it."""
    while models:
        load_model(models.pop(), Path(state_folder).parent / WEIGHTS)


def restore(accelerator: Accelerator, checkpoint: Checkpoint, carried: CarriedState) -> None:
    """Load weights, optimizer, randomness of this process and what is carried; compare with the record.

    Raises:
        CheckpointError: When they cannot be loaded, or are not what was recorded.
    """
    path, record, rank = checkpoint.path, checkpoint.record, accelerator.process_index
    try:
        if is_in_parts(checkpoint.manifest["files"]) or any(map(is_sharded, accelerator._models)):
            load_parts(accelerator, path)
        else:
            accelerator.load_state(str(path / STATE_FOLDER))
    except CheckpointError:
        raise
    except Exception as error:  # whatever a file can hold; torch's own message advises to load it unsafely
        log.debug("%s", error, exc_info=error)
        raise CheckpointError(
            f"{path}: it could not be loaded although its manifest holds ({type(error).__name__}). Its files "
            "are not those of this model and optimizer, or hold something else than numbers, which is never "
            "run. Use another checkpoint."
        ) from error
    carried.load(path / STATE_FOLDER)
    is_same_topology = record["world_size"] == accelerator.num_processes
    if is_same_topology and record["random_states"][rank : rank + 1] != [random_state_sha256()]:
        raise CheckpointError(
            f"{path}: the random state of rank {rank} was not restored as it was recorded. "
            "Use another checkpoint."
        )
    found = optimizer_facts(accelerator._optimizers)
    for optimizer in accelerator._optimizers:
        weights_for_training(optimizer)
    if found != record.get("optimizer"):
        raise CheckpointError(
            f"{path}: the optimizer was restored as {found}, and the record says {record.get('optimizer')}. "
            "Use another checkpoint."
        )


def inexact_because(record: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return why a resumed run may differ in its last bits from the uninterrupted one; empty if it may not.

    Args:
        record: ``trainer_state.json`` of the checkpoint.
        facts: The same facts now.
    """
    found = [
        f"{what}: {record.get(key)} then, {facts[key]} now"
        for key, what in _SAME_FOR_EXACTNESS.items()
        if record.get(key) != facts[key]
    ]
    placed = ["in parts" if side.get("sharded", False) else "whole" for side in (record, facts)]
    if placed[0] != placed[1]:
        found.append(f"tensors: {placed[0]} then, {placed[1]} now")
    if facts["world_size"] > 2:  # DDP sorts its buckets after the first backward pass (torch 2.13)
        found.append(
            f"processes: {facts['world_size']} of them add gradients in another order in the first update "
            "after a resume"
        )
    then, now = record["versions"], facts["versions"]
    found += [
        f"{package}: {then.get(package, 'unknown')} then, {now.get(package, 'not installed')} now"
        for package in sorted({*then, *now})
        if then.get(package) != now.get(package)
    ]
    return found


def random_state_sha256() -> str:
    """Return a digest of all generators of this process that Accelerate saves."""
    digest = hashlib.sha256(repr(random.getstate()).encode())
    name, keys, *rest = np.random.get_state(legacy=True)
    digest.update(repr((name, rest)).encode() + np.asarray(keys).tobytes())
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    for state in states:
        digest.update(state.numpy().tobytes())
    return digest.hexdigest()


def optimizer_facts(optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, list[float]]:
    """Return the updates that the optimizers have counted and their learning rates, each value once."""
    steps: set[float] = set()
    rates: set[float] = set()
    for optimizer in optimizers:
        steps |= {float(state["step"]) for state in optimizer.state.values() if "step" in state}
        rates |= {float(group["lr"]) for group in optimizer.param_groups}
    return {"steps": sorted(steps), "learning_rates": sorted(rates)}


def require_finite(model: torch.nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Refuse to save what cannot be trained on.

    Raises:
        DivergedError: Naming the first tensor of weights or moments with a value that is not finite.
    """
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    for name, tensor in model.state_dict().items():
        _require_finite(name, tensor)
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, torch.Tensor):
                    _require_finite(f"{key} of {names.get(parameter, 'a parameter')}", value)


def require_finite_parts(accelerator: Accelerator, model: torch.nn.Module) -> None:
    """The same for tensors in parts, of which each process sees its own; all of them call this.

    Raises:
        DivergedError: On all processes, where any found such a value.
    """
    problem: DivergedError | None = None
    try:
        require_finite(model, accelerator._optimizers)
    except DivergedError as error:
        problem = error
    failed = torch.tensor([problem is not None], dtype=torch.int64, device=accelerator.device)
    if int(accelerator.reduce(failed, "sum")):
        raise problem or DivergedError(
            "another process holds values that are not finite; no checkpoint of them is published. Its own "
            "log names the tensor. Use --resume-from latest."
        )


def _require_finite(name: str, tensor: torch.Tensor) -> None:
    tensor = own_part(tensor)
    if not tensor.numel() or not tensor.is_floating_point():
        return
    # One pass without a copy: a NaN is both the least and the greatest.
    if not all(bool(torch.isfinite(bound)) for bound in torch.aminmax(tensor.detach())):
        raise DivergedError(
            f"{name} holds values that are not finite; no checkpoint of it is published. Lower the learning "
            "rate, lengthen the warm-up, or use fp32, and use --resume-from latest."
        )
