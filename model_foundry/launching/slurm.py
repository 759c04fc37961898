"""A job's script for Slurm, and its submission.

Slurm signals the script (``--signal=B:``), not the training: the script asks the run to save by its file
``control/stop``, which every machine sees, and decides by ``status.json`` what comes next. The number of a
machine is known only on it, so the shell that srun starts there puts it in.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from model_foundry.errors import RecipeError
from model_foundry.launching.cluster import Container
from model_foundry.launching.job import FOLDER, SMOKE_UPDATES, Job, render

_STEP = "--kill-on-bad-exit=0 --wait=900"
"""Processes that fail on one machine do not end the others: these say who was lost, and end themselves."""


def slurm_script(job: Job, *, script: Path, placement: Path) -> str:
    """Return the script.

    Args:
        job: What is run, and where.
        script: Where the script will lie.
        placement: Where the placement of this job will lie.

    Raises:
        RecipeError: When the job would be told to stop before it could begin.
    """
    container = job.cluster.container
    return render(
        "slurm.sh.jinja",
        {
            "job": job,
            "script": shlex.quote(str(script)),
            "placement": placement,
            "options": list(_options(job, script.parent)),
            "step": _STEP + (_image(container) if container and container.runner == "pyxis" else ""),
            "inside": _apptainer(container, job.gpus) if container else "",
            "training": training_words(job),
            "updates": SMOKE_UPDATES,
            "folder": FOLDER,
        },
    )


def training_words(job: Job) -> str:
    """Return recipe, overrides and flags as a shell reads them."""
    words = [job.recipe, *job.overrides]
    return shlex.join(words + (["--allow-custom-code"] if job.allow_custom_code else []))


def _options(job: Job, folder: Path) -> Iterator[str]:
    slurm = job.cluster.slurm
    assert job.seconds is not None, "Slurm wants to know how long"
    yield f"--job-name={job.name}{'-smoke' if job.is_smoke else ''}"
    for name in ("account", "partition", "qos", "constraint"):
        if value := getattr(slurm, name):
            yield f"--{name}={value}"
    yield f"--nodes={job.nodes}"
    yield "--ntasks-per-node=1"
    if job.gpus:
        kind = f"{slurm.gpu_type}:" if slurm.gpu_type else ""
        yield f"--{slurm.gpus_as}={'gpu:' if slurm.gpus_as == 'gres' else ''}{kind}{job.gpus}"
    if slurm.cpus_per_node:
        yield f"--cpus-per-task={slurm.cpus_per_node}"
    yield f"--time={_clock(job.seconds)}"
    if not job.is_smoke:
        if job.seconds <= slurm.warning:
            raise RecipeError(
                f"--time {_clock(job.seconds)}: the job would be asked to stop {slurm.warning:.0f} s before "
                "its end (slurm.warning of the cluster file), which is no later than its beginning. Give it "
                "more time."
            )
        yield f"--signal=B:USR1@{slurm.warning:.0f}"
    yield "--requeue" if job.requeue else "--no-requeue"
    log = f"{folder}/slurm-%j.log"
    yield f'--output="{log}"' if " " in log else f"--output={log}"
    yield "--open-mode=append"
    yield from slurm.options


def _clock(seconds: int) -> str:
    """Return a length of time as Slurm writes it: days-hours:minutes:seconds."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def _image(container: Container) -> str:
    mounts = f" --container-mounts={','.join(container.mounts)}" if container.mounts else ""
    return f" --container-image={container.image}{mounts}"


def _apptainer(container: Container, gpus: int) -> str:
    if container.runner != "apptainer":
        return ""
    binds = "".join(f" --bind {mount}" for mount in container.mounts)
    return f"apptainer exec{' --nv' if gpus else ''}{binds} {container.image} "


def submit(script: Path) -> str:
    """Give the script to sbatch and return the job's number.

    Raises:
        RecipeError: When there is no sbatch, or when it refuses, with what it said.
    """
    if shutil.which("sbatch") is None:
        raise RecipeError(f"--submit: there is no sbatch here. On a login node: sbatch {script}")
    done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RecipeError(f"--submit: sbatch refused {script}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip().partition(";")[0]
