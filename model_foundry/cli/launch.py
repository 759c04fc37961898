"""``model-foundry launch``: scripts for the machines that a scheduler gives."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._panels import RUN
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.config.load import LoadedRecipe

_Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")]
_Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Values that replace the recipe's.")
]
_Nodes = Annotated[int, typer.Option(min=1, max=2**16, help="Machines.")]
_Gpus = Annotated[int, typer.Option(min=0, max=64, help="GPUs of each machine; 0 for CPUs.")]
_Placement = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="As train takes it; single_gpu, ddp or multi_node.")
]
_Cluster = Annotated[
    Path | None, typer.Option(help="Facts of the site (default: cluster.yaml, where it is there).")
]
_RunDir = Annotated[Path | None, typer.Option(help="The run's folder (default: runs/<name>).")]
_Code = Annotated[bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")]
_Restarts = Annotated[
    int, typer.Option(min=0, max=100, help="How often processes that failed are started again in the job.")
]
_Time = Annotated[str, typer.Option(metavar="H:MM:SS", help="Time of the job: 12:00:00, 2-00:00:00 or 12h.")]
_Requeue = Annotated[bool, typer.Option("--requeue", help="Queue it again when it was interrupted.")]
_Submit = Annotated[bool, typer.Option("--submit", help="Give it to sbatch.")]
_Smoke = Annotated[
    bool, typer.Option("--smoke", help="20 updates, an all-reduce, a checkpoint and a resume, then exit.")
]


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verbs."""
    group = typer.Typer(no_args_is_help=True, help="Write the script that trains on a cluster or in a cloud.")
    group.command("slurm")(_slurm)
    group.command("sky")(_sky)
    app.add_typer(group, name="launch", rich_help_panel=RUN)


def _slurm(
    recipe: _Recipe,
    overrides: _Overrides = None,
    nodes: _Nodes = 1,
    gpus: _Gpus = 1,
    time: _Time = "1:00:00",
    requeue: _Requeue = False,
    submit: _Submit = False,
    smoke: _Smoke = False,
    placement: _Placement = None,
    max_restarts: _Restarts = 0,
    cluster: _Cluster = None,
    run_dir: _RunDir = None,
    allow_custom_code: _Code = False,
) -> None:
    """Print a batch script for Slurm, and keep it in the run's folder.

    The run's folder, the recipe and the prepared text must lie where every machine sees them. Before its time
    ends the job is told, saves and stops; --requeue queues it again, to go on from the newest checkpoint.

    Example: model-foundry launch slurm demo --nodes 4 --gpus 8 --time 12:00:00 --requeue
    """
    from model_foundry.launching import slurm
    from model_foundry.launching.job import FOLDER, Job

    asked = _asked(recipe, overrides, nodes, gpus, placement, max_restarts, cluster, allow_custom_code)
    run = (run_dir or Path("runs") / asked.name).absolute()
    job = Job(
        **asked.facts, recipe=_recipe_word(recipe, asked.loaded), run=str(run), is_smoke=smoke,
        requeue=requeue and not smoke, seconds=_seconds(time),
    )  # fmt: skip
    kind = "smoke" if smoke else "submit"
    script, file = run / FOLDER / f"{kind}.slurm", run / FOLDER / f"{kind}.placement.yaml"
    text = slurm.slurm_script(job, script=script, placement=file)
    _keep({script: text, file: asked.placement})
    typer.echo(text, nl=False)
    if submit:
        typer.echo(f"submitted as job {slurm.submit(script)}; it writes to {script.parent}", err=True)
    else:
        typer.echo(f"kept as {script}; submit it with: sbatch {shlex.quote(str(script))}", err=True)


def _sky(
    recipe: _Recipe,
    overrides: _Overrides = None,
    nodes: _Nodes = 1,
    gpus: _Gpus = 1,
    placement: _Placement = None,
    max_restarts: _Restarts = 0,
    cluster: _Cluster = None,
    allow_custom_code: _Code = False,
) -> None:
    """Print a file for SkyPilot, and keep it as sky.NAME.yaml.

    It is started from this folder, whose files are copied to the machines. The run lies below sky.folder of
    the cluster file, which must outlive them.

    Example: model-foundry launch sky demo --nodes 2 --gpus 8 --cluster cloud.yaml
    """
    from model_foundry.launching import sky
    from model_foundry.launching.job import Job

    asked = _asked(recipe, overrides, nodes, gpus, placement, max_restarts, cluster, allow_custom_code)
    run = sky.folder_on_machines(asked.facts["cluster"].sky.folder, asked.name)
    job = Job(**asked.facts, recipe=_inside(recipe, asked.loaded), run=run)
    path = Path(f"sky.{asked.name}.yaml")
    text = sky.sky_file(job, script=path, placement=asked.placement)
    _keep({path: text})
    typer.echo(text, nl=False)
    typer.echo(f"kept as {path}; start it with: sky jobs launch {shlex.quote(str(path))}", err=True)


@dataclass(frozen=True)
class _Asked:
    """What both verbs make of the command line."""

    loaded: LoadedRecipe
    facts: dict[str, Any]
    """Fields of the job."""

    placement: str
    """Text of the job's placement."""

    @property
    def name(self) -> str:
        return self.loaded.config.run_name


def _asked(
    recipe: str, overrides: list[str] | None, nodes: int, gpus: int, placement: str | None, max_restarts: int,
    cluster: Path | None, allow_custom_code: bool,
) -> _Asked:  # fmt: skip
    from model_foundry.config.load import load_recipe_with_sources
    from model_foundry.launching import spreading
    from model_foundry.launching.cluster import read_cluster

    loaded = load_recipe_with_sources(recipe, overrides or [], allow_custom_code=allow_custom_code)
    chosen = spreading.choose_placement(placement, nodes=nodes, gpus=gpus)
    per_node = spreading.processes_per_node(chosen, gpus)
    settings = spreading.spread(chosen, nodes=nodes, per_node=per_node)
    if max_restarts and nodes * per_node == 1:
        raise RecipeError("--max-restarts: only a launcher of several processes starts them again.")
    facts = {
        "name": loaded.config.run_name, "folder": str(Path.cwd()), "nodes": nodes, "gpus": gpus,
        "per_node": per_node, "placement": chosen.name, "cluster": read_cluster(cluster),
        "overrides": tuple(overrides or ()), "max_restarts": max_restarts,
        "allow_custom_code": allow_custom_code, "command": shlex.join(["model-foundry", *sys.argv[1:]]),
    }  # fmt: skip
    return _Asked(loaded, facts, spreading.placement_text(chosen, settings))


def _recipe_word(recipe: str, loaded: LoadedRecipe) -> str:
    """Return the recipe as the job finds it: a file by its whole path, a shipped one by its name."""
    return str(loaded.path.absolute()) if Path(recipe).exists() else recipe


def _inside(recipe: str, loaded: LoadedRecipe) -> str:
    """Return the recipe by its path from this folder, which SkyPilot copies."""
    if not Path(recipe).exists():
        return recipe
    try:
        return str(loaded.path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        raise RecipeError(
            f"{recipe} is outside this folder, and SkyPilot copies this folder alone. Change to the folder "
            "that holds recipe and text."
        ) from None


def _seconds(time: str) -> int:
    """Read a length of time as Slurm writes it, or with a unit."""
    from pydantic_core import PydanticCustomError

    from model_foundry.units import read_seconds

    days, dash, clock = time.rpartition("-")
    parts = clock.split(":")
    if len(parts) == 3 and all(part.isdecimal() for part in parts) and (not dash or days.isdecimal()):
        hours, minutes, seconds = map(int, parts)
        if minutes < 60 and seconds < 60:
            return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
    try:
        return int(read_seconds(time))
    except PydanticCustomError:
        raise RecipeError(
            f"--time {time}: expected hours:minutes:seconds such as 12:00:00, days before them such as "
            "2-00:00:00, or a number with a unit such as 12h."
        ) from None


def _keep(files: dict[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"{path} cannot be written: {error.strerror}.") from error
