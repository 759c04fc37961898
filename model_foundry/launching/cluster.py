"""Facts of a site that recipes do not hold: ``cluster.yaml``, read for the scripts of schedulers.

Every value ends up in a shell script, so each is either a word that needs no quotes, or quoted where it is
written; ``setup`` alone is shell code, the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt
from pydantic_core import PydanticCustomError

from model_foundry.config.plain import read_settings
from model_foundry.parts import Settings
from model_foundry.units import Time

CLUSTER_FILE = "cluster.yaml"


def _like(pattern: str, what: str) -> Callable[[str], str]:
    known = re.compile(pattern)

    def check(value: str) -> str:
        if not known.fullmatch(value):
            raise PydanticCustomError("word", f"expected {what}")
        return value

    return check


Word = Annotated[
    str, AfterValidator(_like(r"[A-Za-z0-9/.][\w.,:@=/+-]*", "one word, without spaces, quotes or $"))
]
Features = Annotated[
    str, AfterValidator(_like(r"[A-Za-z0-9(\[][\w|&*()\[\],-]*", "features such as a100|h100"))
]
Variable = Annotated[str, AfterValidator(_like(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable"))]
SbatchOption = Annotated[
    str, AfterValidator(_like(r"--[a-z][a-z-]*(=[\w.,:@=/+%*-]+)?", "one option of sbatch such as --mem=0"))
]
Line = Annotated[str, AfterValidator(_like(r"[^\n\r\0]+", "one line"))]


class Slurm(Settings):
    """How jobs are submitted at this site."""

    account: Word | None = None
    """Whose allocation is charged."""

    partition: Word | None = None
    """Where jobs run, or several with commas."""

    qos: Word | None = None
    """Quality of service."""

    constraint: Features | None = None
    """Features that the machines must have."""

    gpus_as: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """How GPUs are asked for: --gpus-per-node=8, or --gres=gpu:8."""

    gpu_type: Word | None = None
    """Kind of GPU, where the site wants it named: --gpus-per-node=h100:8."""

    cpus_per_node: PositiveInt | None = None
    """Cores of a machine that a job gets; each process has its share of them as threads."""

    options: list[SbatchOption] = Field(default_factory=list)
    """Further options of sbatch, such as --exclusive or --mem=0."""

    host_suffix: Annotated[str, AfterValidator(_like(r"[\w.-]*", "letters, digits, '.' and '-'"))] = ""
    """What makes a machine's name that of its fast network, such as -ib0."""

    warning: Annotated[Time, Field(ge=60)] = 600.0
    """How long before its time ends a job is asked to save and stop."""


class Container(Settings):
    """An image that the processes run in."""

    image: Word
    """Path or address of the image."""

    runner: Literal["pyxis", "apptainer"] = "pyxis"
    """pyxis: srun --container-image. apptainer: apptainer exec."""

    mounts: list[Word] = Field(default_factory=list)
    """Folders that are seen inside, as /outside:/inside; those of the run and of the recipe among them."""


class Sky(Settings):
    """Machines that SkyPilot rents."""

    folder: Word | None = None
    """A folder of the machines that all of them see and that outlives them: runs lie below it."""

    accelerator: Word = "H100"
    """Kind of GPU."""

    infra: Word | None = None
    """Where: aws, gcp/us-central1, k8s/context; anywhere by default."""

    use_spot: bool = False
    """Whether machines may be taken away, for less money."""

    image: Word | None = None
    """Image of the machines."""

    volumes: dict[Word, Word] = Field(default_factory=dict)
    """Network volumes by the folder that they are seen at."""


class Cluster(Settings):
    """What a site's scripts need; everything is optional."""

    slurm: Slurm = Slurm()
    """For launch slurm."""

    sky: Sky = Sky()
    """For launch sky."""

    container: Container | None = None
    """An image that the processes run in (Slurm)."""

    modules: list[Word] = Field(default_factory=list)
    """Environment modules, loaded in this order."""

    environment: dict[Variable, str | int] = Field(default_factory=dict)
    """Variables of every process, such as NCCL_SOCKET_IFNAME or HF_HUB_OFFLINE; never a secret."""

    setup: list[Line] = Field(default_factory=list)
    """Lines of shell that make the Python environment, such as 'source ~/venv/bin/activate'."""

    python: Word = "python"
    """The interpreter, once that is done."""


def read_cluster(path: Path | None) -> Cluster:
    """Return the facts of a file; where none is named, of ``cluster.yaml`` in the working folder, if any.

    Raises:
        RecipeError: Naming every key that is wrong, with its place.
    """
    if path is None:
        path = Path(CLUSTER_FILE)
        if not path.exists():
            return Cluster()
    return read_settings(path, Cluster, "facts of a cluster", "slurm: {partition: gpu}")
