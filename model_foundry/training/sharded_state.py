"""The state of a run whose tensors lie in parts: each process writes its own, and any number read them back.

    sharded/                        the weights, where they are not in model.safetensors
    state/pytorch_model_fsdp_0/     the weights, as ``accelerator.save_state`` writes them
    state/optimizer_0/              the optimizer's state by the names of the parameters

A checkpoint of whole tensors is read into parts as well, and parts into whole tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import save, save_fsdp_model
from safetensors import safe_open
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_in_parts

from model_foundry.errors import CheckpointError
from model_foundry.manifest import ManifestError
from model_foundry.training import shards
from model_foundry.training.checkpoint_files import (
    OPTIMIZER,
    SHARDED_OPTIMIZER,
    SHARDED_STATE,
    SHARDED_WEIGHTS,
    STATE_FOLDER,
    WEIGHTS,
)
from model_foundry.training.sharding import (
    as_part_of,
    lasting,
    room_for_part,
    whole_weights,
)
from model_foundry.training.snapshot import without_state


def write_parts(
    accelerator: Accelerator, model: torch.nn.Module, folder: Path, *, resumable: bool, whole: bool
) -> None:
    """Write what this process holds; all of them call this.

    Accelerate would let an optimizer without a state take a step to get one, and ``checkpoint-0`` would no
    longer be the state of no updates: so the optimizer's is written here, in the form of Accelerate's.

    Args:
        accelerator: The run's.
        model: Sharded.
        folder: The checkpoint, not yet published.
        resumable: Whether optimizer and random state go with the weights.
        whole: Whether the weights are written whole, as a Hugging Face folder has them.
    """
    if resumable:
        without_optimizers = copy.copy(accelerator)
        without_optimizers._optimizers = []
        without_optimizers.save_state(str(folder / STATE_FOLDER))
        [optimizer] = accelerator._optimizers
        tree = {"optimizer": by_name(optimizer, model)}
        writer = FileSystemWriter(folder / STATE_FOLDER / SHARDED_OPTIMIZER)
        save_in_parts(tree, storage_writer=writer)
    elif not whole:
        save_fsdp_model(accelerator.state.fsdp_plugin, accelerator, model, str(folder))
    if whole:
        weights = whole_weights(model, keep=accelerator.is_main_process)
        if accelerator.is_main_process:
            save(weights, folder / WEIGHTS, safe_serialization=True)


def arrange(folder: Path) -> None:
    """Bring the weights to their place when all processes have written, and see that no part is lost.

    Raises:
        ManifestError: When a file that the table of parts speaks of is not there.
    """
    if not (folder / WEIGHTS).is_file():
        above = folder / STATE_FOLDER if (folder / STATE_FOLDER).is_dir() else folder
        (above / SHARDED_STATE).rename(folder / SHARDED_WEIGHTS)
    for parts in sorted(path.parent for path in folder.rglob(shards.METADATA)):
        for name in sorted(shards.files_of(shards.table_of(parts))):
            if not (parts / name).is_file():
                raise ManifestError(
                    f"{parts.relative_to(folder) / name}, which a process wrote, is not seen here"
                )


def load_parts(accelerator: Accelerator, folder: Path) -> None:
    """Bring weights, optimizer and randomness back from parts or whole tensors, into either.

    Raises:
        CheckpointError: When they are those of another model or optimizer.
    """
    [wrapped], [optimizer] = accelerator._models, accelerator._optimizers
    model = accelerator.unwrap_model(wrapped)
    with torch.no_grad():
        load_weights(model, folder)
        load_optimizer(optimizer, model, folder / STATE_FOLDER)
    without_state(accelerator).load_state(str(folder / STATE_FOLDER))


def parts_of_weights(folder: Path) -> Path | None:
    """Return where the parts of the weights lie in a checkpoint, if they do."""
    places = (folder / SHARDED_WEIGHTS, folder / STATE_FOLDER / SHARDED_STATE)
    return next((place for place in places if place.is_dir()), None)


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Fill the model's tensors in place, each process its own parts."""
    parts = parts_of_weights(folder)
    if parts is not None:
        shards.read_into(parts, {f"model.{name}": tensor.detach() for name, tensor in lasting(model)})
        return
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stored = set(file.keys())
        for name, tensor in lasting(model):
            found = _stored_name(model, name, tensor, stored)
            if found is None or tuple(file.get_slice(found).get_shape()) != tuple(tensor.shape):
                raise CheckpointError(
                    f"{folder / WEIGHTS}: there is no {name} of shape {tuple(tensor.shape)}. It is of "
                    "another model; use another checkpoint."
                )
            tensor.detach().copy_(as_part_of(file.get_tensor(found), tensor))


def _stored_name(model: torch.nn.Module, name: str, tensor: torch.Tensor, stored: set[str]) -> str | None:
    """Return under which of its names a tied weight was stored."""
    if name in stored:
        return name
    everything = model.named_parameters(remove_duplicate=False)
    return next((other for other, same in everything if same is tensor and other in stored), None)


def by_name(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, Any]:
    """Return an optimizer's state by the names of the parameters, where torch has numbers."""
    content = optimizer.state_dict()
    names = names_of(optimizer, model)
    groups = [
        {**group, "params": [names[number] for number in group["params"]]}
        for group in content["param_groups"]
    ]
    return {
        "state": {names[number]: state for number, state in content["state"].items()},
        "param_groups": groups,
    }


def names_of(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> list[str]:
    """Return the names of an optimizer's parameters by torch's numbers: the same on any placement."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    numbered: dict[int, str] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            numbered.setdefault(id(parameter), names[id(parameter)])
    return list(numbered.values())


def load_optimizer(optimizer: torch.optim.Optimizer, model: torch.nn.Module, folder: Path) -> None:
    """Give the optimizer a state that was saved in parts or whole."""
    names, parameters = names_of(optimizer, model), dict(model.named_parameters())
    if (folder / SHARDED_OPTIMIZER).is_dir():
        content = _from_parts(folder / SHARDED_OPTIMIZER, names, parameters)
    else:
        content = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
        for number, state in content["state"].items():
            parameter = parameters[names[number]]
            for key, value in state.items():
                if isinstance(value, torch.Tensor):
                    state[key] = as_part_of(value, parameter)
    getattr(optimizer, "optimizer", optimizer).load_state_dict(content)


def _from_parts(folder: Path, names: list[str], parameters: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return torch's form of a state by number."""

    def memory(place: tuple[Any, ...], shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        parameter = parameters[place[2]] if place[1] == "state" else torch.empty(0)
        return room_for_part(shape, dtype, parameter)

    tree = shards.read_tree(folder, memory)["optimizer"]
    numbers = {name: number for number, name in enumerate(names)}
    groups = []
    for _, group in sorted(tree["param_groups"].items()):
        listed = {
            key: [value[number] for number in sorted(value)] if isinstance(value, dict) else value
            for key, value in group.items()
        }
        groups.append({**listed, "params": [numbers[name] for name in listed["params"]]})
    state = {numbers[name]: dict(of_one) for name, of_one in tree.get("state", {}).items()}
    return {"state": state, "param_groups": groups}
