"""Placements: files for ``accelerate launch``, by name or by path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from model_foundry.config.plain import read_mapping
from model_foundry.errors import RecipeError

_PACKAGE = Path(__file__).parents[1]
_GRADIENT_ACCUMULATION = "gradient_accumulation_steps"


@dataclass(frozen=True)
class Placement:
    """One file that says where a run happens."""

    name: str
    path: Path

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """What the file says.

        Raises:
            RecipeError: When it is no YAML mapping.
        """
        return read_mapping(self.path, "a placement", "num_processes: 2")

    @property
    def summary(self) -> str:
        """The first comment of the file: where it runs, in a few words."""
        first = self.path.read_text(encoding="utf-8").partition("\n")[0]
        return first.removeprefix("#").strip() if first.startswith("#") else ""

    @property
    def processes(self) -> int:
        """Processes over all machines."""
        return int(self.settings.get("num_processes", 1))

    @property
    def machines(self) -> int:
        """Machines that take part."""
        return int(self.settings.get("num_machines", 1))

    @property
    def is_on_cpu(self) -> bool:
        """Whether it asks for CPUs alone."""
        return bool(self.settings.get("use_cpu", False))


def shipped_placements() -> dict[str, Placement]:
    """Return the placements that come with the package, by name."""
    for folder in (_PACKAGE / "accelerate_configs", _PACKAGE.parent / "accelerate_configs"):
        if folder.is_dir():
            return {path.stem: Placement(path.stem, path) for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_placement(name: str) -> Placement:
    """Return the placement of that name, or that file.

    Raises:
        RecipeError: When there is none, or when a line of a user's own file would have no effect.
    """
    shipped = shipped_placements()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if not path.is_file():
        raise RecipeError(
            f"--placement {name}: there is no such file, and no placement of that name. "
            f"Shipped ones: {', '.join(shipped)}."
        )
    placement = Placement(path.stem, path)
    require_effect(placement)
    return placement


def require_effect(placement: Placement) -> None:
    """Refuse a file with settings that Accelerate would pass over without a word.

    An unknown key inside a section is ignored (Accelerate 1.15), ``MULTI_CPU`` starts one process whatever
    is asked for, and accumulation follows from the recipe.

    Raises:
        RecipeError: Naming file, key and what to do.
    """
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import launch_command_parser

    known = {action.dest for action in launch_command_parser()._actions}
    problems = []
    settings = placement.settings
    if unknown := sorted(set(settings) - set(ClusterConfig.__dataclass_fields__)):
        problems.append(f"unknown key {', '.join(unknown)}")
    for section, prefix in (
        ("fsdp_config", "fsdp_"),
        ("parallelism_config", "parallelism_config_"),
        ("deepspeed_config", ""),
        ("fp8_config", "fp8_"),
        ("dynamo_config", "dynamo_"),
    ):
        for key in settings.get(section) or {}:
            full = key if key.startswith(prefix) or section == "parallelism_config" else prefix + key
            if full not in known:
                problems.append(f"{section}.{key} is unknown, and Accelerate would ignore it")
    if settings.get("distributed_type") == "MULTI_CPU" and placement.processes > 1:
        problems.append(
            f"distributed_type MULTI_CPU starts one process, not {placement.processes} (Accelerate 1.15): "
            "take cpu_2_processes as the pattern"
        )
    accumulation = (settings.get("deepspeed_config") or {}).get(_GRADIENT_ACCUMULATION, 1)
    if accumulation != 1:
        problems.append(f"{_GRADIENT_ACCUMULATION} is {accumulation}: the recipe decides it; leave it at 1")
    if (settings.get("dynamo_config") or {}).get("dynamo_backend", "NO").upper() != "NO":
        problems.append("dynamo_config compiles the model: training.compile decides that; leave it out")
    if problems:
        raise RecipeError(f"{placement.path}: " + "; ".join(problems) + ".")
