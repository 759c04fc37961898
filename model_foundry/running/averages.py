"""Averaged weights as a model's folder: of a run's checkpoints, or the average that a run kept itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import CheckpointError, RunDirectoryError
from model_foundry.training.checkpoint_files import (
    OPTIMIZER,
    SHARDED_OPTIMIZER,
    STATE_FOLDER,
    WEIGHTS,
    Checkpoint,
    open_checkpoint,
    published,
)

if TYPE_CHECKING:
    import torch

_TOKENIZER_SUFFIXES = {".json", ".txt", ".model", ".vocab", ".jinja"}
_OURS = {"MANIFEST.json", "trainer_state.json"}


def newest_checkpoints(run: Path, last: int) -> list[Checkpoint]:
    """Return the newest checkpoints of a run, newest first, every byte of them verified.

    Raises:
        CheckpointError: When there are fewer, or one is damaged.
    """
    found = published(run / "checkpoints")
    if len(found) < last:
        raise CheckpointError(
            f"{run}: it has {len(found)} checkpoints, expected {last} to average. Ask for fewer with --last."
        )
    return [open_checkpoint(path) for path in found[:last]]


def average_checkpoints(checkpoints: list[Checkpoint], out: Path) -> None:
    """Write the mean of the parameters of ``checkpoints`` as a model's folder; all else is the first one's.

    Raises:
        RunDirectoryError: When ``out`` is there already.
        CheckpointError: When they are not of one model.
    """
    import torch

    model = _open(checkpoints[0], out)
    totals = {
        name: torch.zeros(parameter.shape, dtype=torch.float64)
        for name, parameter in model.named_parameters()
    }
    for one in checkpoints:
        stored = _stored_weights(one.path)
        for name, total in totals.items():
            key = name if name in stored else _tied(model, name, set(stored))
            if key not in stored or stored[key].shape != total.shape:
                raise CheckpointError(f"{one.path}: its {name} is not that of {checkpoints[0].path}.")
            total += stored[key]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(totals[name] / len(checkpoints))
    _write(model, checkpoints[0], out)


def _stored_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    from model_foundry.running.loading import weights_in_parts

    in_parts = weights_in_parts(folder)
    return load_file(folder / WEIGHTS) if in_parts is None else in_parts


def export_kept_average(checkpoint: Checkpoint, out: Path) -> None:
    """Write the average that the run kept (its recipe's ``averaging``) as a model's folder.

    Raises:
        RunDirectoryError: When ``out`` is there already.
        CheckpointError: When the checkpoint holds none.
    """
    averages = kept_average(checkpoint)
    model = _open(checkpoint, out)
    put_average(model, averages)
    _write(model, checkpoint, out)


def kept_average(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the average that the run kept at a checkpoint, by the names of the parameters.

    Raises:
        CheckpointError: When the checkpoint holds none.
    """
    import torch

    if not checkpoint.is_resumable:
        raise CheckpointError(
            f"{checkpoint.path}: it holds weights alone; the run's average lies in resumable checkpoints."
        )
    state = checkpoint.path / STATE_FOLDER
    if (state / SHARDED_OPTIMIZER).is_dir():
        return _required(checkpoint, _average_in_parts(state / SHARDED_OPTIMIZER))
    content = torch.load(state / OPTIMIZER, map_location="cpu", weights_only=True)
    averages: dict[str, torch.Tensor] = {
        name: content["state"][number]["average"]
        for group in content["param_groups"]
        for number, name in zip(group["params"], group.get("param_names", ()), strict=False)
        if "average" in content["state"].get(number, {})
    }
    return _required(checkpoint, averages)


def _average_in_parts(folder: Path) -> dict[str, torch.Tensor]:
    import torch

    from model_foundry.training.shards import read_tree

    tree = read_tree(folder, lambda place, shape, dtype: torch.empty(shape, dtype=dtype))["optimizer"]
    return {name: state["average"] for name, state in tree.get("state", {}).items() if "average" in state}


def _required(checkpoint: Checkpoint, averages: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not averages:
        raise CheckpointError(
            f"{checkpoint.path}: the run kept no average. Give its recipe a section averaging, or average "
            "checkpoints with --last."
        )
    return averages


def put_average(model: torch.nn.Module, averages: dict[str, torch.Tensor]) -> None:
    """Replace the parameters of a model by their averages; one without an average stays."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in averages:
                parameter.copy_(averages[name])


def _open(checkpoint: Checkpoint, out: Path) -> torch.nn.Module:
    import torch

    from model_foundry.running.loading import load_saved

    if out.exists():
        raise RunDirectoryError(f"{out} is there already. Name another folder with --out.")
    return load_saved(checkpoint.path, dtype=torch.float32)


def _tied(model: torch.nn.Module, name: str, stored: set[str]) -> str:
    """Return under which name a tied weight was stored."""
    parameter = model.get_parameter(name)
    aliases = [other for other, same in model.named_parameters(remove_duplicate=False) if same is parameter]
    return next((other for other in aliases if other in stored), name)


def _write(model: torch.nn.Module, checkpoint: Checkpoint, out: Path) -> None:
    model.save_pretrained(out)  # type: ignore[operator]
    for file in sorted(checkpoint.path.iterdir()):
        is_beside = file.suffix in _TOKENIZER_SUFFIXES and file.name not in _OURS
        if is_beside and not (out / file.name).exists():
            shutil.copyfile(file, out / file.name)
