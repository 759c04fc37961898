"""A run on machines that a scheduler gives: what is run, where, and the files that are kept beside it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.launching.cluster import Cluster

FOLDER = "launch"
"""In the run's folder: scripts, the placement of the job, and what the scheduler prints."""

SMOKE_UPDATES = 20
"""Updates of a smoke job, of which the second half is done twice: once more after a resume."""


@dataclass(frozen=True)
class Job:
    """One run, for a scheduler's script."""

    name: str
    recipe: str
    """A path, absolute or from ``folder``, or the name of a shipped recipe."""

    run: str
    """The run's folder, as the machines see it."""

    folder: str
    """Where the command was given: relative paths of the recipe are looked for there, too."""

    nodes: int
    gpus: int
    """GPUs a machine; 0 for CPUs."""

    per_node: int
    """Processes a machine."""

    placement: str
    """Name of the placement that the job's own was made from."""

    cluster: Cluster
    overrides: tuple[str, ...] = ()
    max_restarts: int = 0
    allow_custom_code: bool = False
    command: str = ""
    """What made the script."""

    is_smoke: bool = False
    requeue: bool = False
    seconds: int | None = None
    """Time that the job gets."""

    @property
    def processes(self) -> int:
        """Processes over all machines."""
        return self.nodes * self.per_node

    @property
    def threads(self) -> int | None:
        """Threads of a process, where it is known how many cores there are."""
        cores = self.cluster.slurm.cpus_per_node
        return None if cores is None else max(1, cores // self.per_node)


def render(
    template: str, values: Mapping[str, Any], filters: Mapping[str, Callable[[Any], str]] | None = None
) -> str:
    """Return one of the package's templates with its values; ``quote`` makes a shell's word of a text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # shell and YAML; what could hold anything is quoted
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"quote": lambda value: shlex.quote(str(value)), **(filters or {})}
    return environment.get_template(template).render(values)
