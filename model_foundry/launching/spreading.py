"""A placement for the machines of one job: its file, with the numbers of machines and processes put in."""

from __future__ import annotations

import re
from typing import Any

from model_foundry.config.load import dump_recipe
from model_foundry.errors import RecipeError
from model_foundry.launching.placements import Placement, find_placement

PORT = 29500
_SIZES = "parallelism_config"
_PREFIX = "parallelism_config_"
_KEPT = ("tp", "cp", "sp")
_TRUTHS = re.compile(r": (yes|no|on|off|y|n)$", re.MULTILINE | re.IGNORECASE)
"""Words that are truths to the reader of Accelerate (YAML 1.1), and words to ours."""


def choose_placement(name: str | None, *, nodes: int, gpus: int) -> Placement:
    """Return the placement of that name; without one the usual one for so many machines and GPUs.

    That is a copy of the model on each GPU of one machine, and parts over a machine's GPUs with copies
    between machines where there are several.

    Raises:
        RecipeError: When there is no such placement, or when it cannot run on these machines.
    """
    if name is None:
        if gpus == 0:
            raise RecipeError(
                "--gpus 0: name a placement for CPUs beside it, such as --placement cpu_2_processes."
            )
        name = "multi_node" if nodes > 1 else "ddp" if gpus > 1 else "single_gpu"
    placement = find_placement(name)
    if placement.is_on_cpu != (gpus == 0):
        raise RecipeError(
            f"--placement {name} is for {'CPUs: give --gpus 0' if gpus else 'GPUs: give --gpus'} with it."
        )
    return placement


def processes_per_node(placement: Placement, gpus: int) -> int:
    """Return how many processes each machine runs: one a GPU, or as many as a file for CPUs says."""
    return gpus or max(1, placement.processes // placement.machines)


def spread(placement: Placement, *, nodes: int, per_node: int) -> dict[str, Any]:
    """Return the settings of the placement for this many machines, with this many processes on each.

    Sizes of tensor, context and sequence parallelism stay; copies and parts of the model share what is left.

    Raises:
        RecipeError: When the processes cannot be divided so, or when one is asked to be several.
    """
    total = nodes * per_node
    settings = dict(placement.settings)
    if settings.get("distributed_type") == "NO" and total > 1:
        raise RecipeError(
            f"--placement {placement.name} starts one process, and {nodes} x {per_node} are asked for. Take "
            f"{'cpu_2_processes' if placement.is_on_cpu else 'ddp, fsdp2 or multi_node'}."
        )
    if settings.get("distributed_type") != "NO" and total == 1:
        raise RecipeError(f"--placement {placement.name} is for several processes; take cpu or single_gpu.")
    settings |= {"num_processes": total, "num_machines": nodes}
    if nodes > 1:
        settings |= {"rdzv_backend": "c10d", "same_network": False, "machine_rank": 0}
        settings |= {"main_process_ip": "127.0.0.1", "main_process_port": PORT}  # the job's script has both
    if settings.get("deepspeed_config") and nodes > 1:
        own = {"deepspeed_multinode_launcher": "standard"}  # one launcher a machine; pdsh would start its own
        settings["deepspeed_config"] = {**settings["deepspeed_config"], **own}
    if sizes := settings.get(_SIZES):
        settings[_SIZES] = _divided(placement.name, dict(sizes), nodes=nodes, per_node=per_node)
    return settings


def _divided(name: str, sizes: dict[str, Any], *, nodes: int, per_node: int) -> dict[str, Any]:
    within = 1
    for kind in _KEPT:
        within *= sizes.get(f"{_PREFIX}{kind}_size", 1)
    if per_node % within:
        raise RecipeError(
            f"--placement {name} divides each layer or window over {within} processes, and a machine has "
            f"{per_node}. Take a multiple of {within}."
        )
    copies = sizes.get(f"{_PREFIX}dp_replicate_size", 1)
    if copies > 1:
        copies = nodes if nodes > 1 else copies
        if (nodes * per_node // within) % copies or nodes * per_node // within == copies:
            raise RecipeError(
                f"--placement {name} keeps {copies} copies of the model, each in parts, and {nodes} x "
                f"{per_node} processes cannot be divided so. Take fsdp2, or another number."
            )
    parts = nodes * per_node // within // copies
    return {**sizes, f"{_PREFIX}dp_replicate_size": copies, f"{_PREFIX}dp_shard_size": parts}


def placement_text(placement: Placement, settings: dict[str, Any]) -> str:
    """Return the file for ``accelerate launch``."""
    nodes, total = settings["num_machines"], settings["num_processes"]
    text = _TRUTHS.sub(r": '\1'", dump_recipe(settings))
    return f"# {placement.name} for {nodes} machines, {total} processes in all.\n{text}"
