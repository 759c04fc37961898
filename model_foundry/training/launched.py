"""What a launcher asked for, held against what runs: Accelerate 1.15 drops some of it without a word."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from accelerate import Accelerator

_YES = ("1", "true", "yes")
_SHARDED = {
    "FSDP": ("ACCELERATE_USE_FSDP", "fsdp_config"),
    "DEEPSPEED": ("ACCELERATE_USE_DEEPSPEED", "deepspeed_config"),
}


def require_as_launched(accelerator: Accelerator) -> None:
    """Refuse to run otherwise than the launcher was told.

    Raises:
        RecipeError: Naming what was asked for, what runs, and what to do.
    """
    launch = _launch_above()
    _require_processes(accelerator.num_processes, launch)
    _require_devices(accelerator.device.type, launch)
    found = accelerator.distributed_type.value
    for kind, (variable, section) in _SHARDED.items():
        if os.environ.get(variable, "").lower() in _YES and found != kind:
            raise RecipeError(
                f"the launcher's configuration asks for {kind} ({section}), and Accelerate runs {found} on "
                f"{accelerator.device.type} without a word: it has {kind} for GPUs alone. Take another "
                "placement, such as cpu_2_processes on CPUs or ddp."
            )
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if backend != "no":
        raise RecipeError(
            f"the launcher's configuration compiles the model (dynamo backend {backend}), and the recipe's "
            "training.compile decides that. Remove dynamo_config, or --dynamo_backend, from the launch."
        )


@dataclass(frozen=True)
class _Launch:
    """What the ``accelerate launch`` above this process was asked for."""

    processes: int | None
    wants_gpus: bool
    """Whether its configuration file says so; without a file nobody asked."""


def _require_processes(found: int, launch: _Launch | None) -> None:
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if expected != found:
        raise RecipeError(
            f"the launcher started {expected} processes, and Accelerate joined {found}. On CPUs set "
            "ACCELERATE_USE_CPU=true, or start with torchrun --nproc-per-node."
        )
    if expected == 1 and launch is not None and launch.processes not in (None, 1):
        raise RecipeError(
            f"accelerate launch was asked for {launch.processes} processes and started one, without a word "
            "(Accelerate 1.15 does so on CPUs). Use model-foundry train RECIPE --placement cpu_2_processes, "
            f"or torchrun --nproc-per-node={launch.processes} -m model_foundry.train RECIPE."
        )


def _require_devices(kind: str, launch: _Launch | None) -> None:
    import torch

    is_told_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in _YES
    if kind == "cpu" and launch is not None and launch.wants_gpus and not is_told_cpu:
        raise RecipeError(
            "the launcher's configuration asks for GPUs (use_cpu: false), and torch finds none. Take a "
            "placement for CPUs, such as cpu or cpu_2_processes; model-foundry doctor says what is here."
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if kind == "cuda" and here > torch.cuda.device_count():
        raise RecipeError(
            f"the launcher started {here} processes on this machine, and torch finds "
            f"{torch.cuda.device_count()} GPUs. Start one a GPU: --processes {torch.cuda.device_count()} "
            "(--num_processes in accelerate launch)."
        )


def _launch_above() -> _Launch | None:
    """Read the command line of the launcher, since it hands on less than it was asked."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:  # it exports that to everything that it starts
        return None
    parent = psutil.Process().parent()
    arguments = _arguments_of_launch(parent.cmdline() if parent is not None else [])
    if arguments is None:
        return None
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    options, _ = launch_command_parser().parse_known_args(arguments)
    if options.config_file is None:
        return _Launch(options.num_processes, wants_gpus=False)
    file = load_config_from_file(options.config_file)
    return _Launch(options.num_processes or file.num_processes, wants_gpus=not (options.cpu or file.use_cpu))


def _arguments_of_launch(command: list[str]) -> list[str] | None:
    for place, word in enumerate(command):
        if word == "accelerate.commands.launch" or word.endswith("accelerate-launch"):
            return command[place + 1 :]
        if word.endswith("accelerate") and command[place + 1 : place + 2] == ["launch"]:
            return command[place + 2 :]
    return None
