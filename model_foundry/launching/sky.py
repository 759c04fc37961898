"""A job's file for SkyPilot, which rents machines and starts it again on others when they are lost.

Its ``run`` is the same shell script on every machine (docs.skypilot.co, "Distributed Multi-Node Jobs").
"""

from __future__ import annotations

import re
from pathlib import Path

from model_foundry.config.load import inline
from model_foundry.errors import RecipeError
from model_foundry.launching.job import Job, render
from model_foundry.launching.slurm import training_words
from model_foundry.launching.spreading import PORT


def sky_file(job: Job, *, script: Path, placement: str) -> str:
    """Return the file.

    Args:
        job: What is run, and where.
        script: Where the file will lie.
        placement: The placement of this job, as text.
    """
    sky = job.cluster.sky
    resources = {
        "accelerators": f"{sky.accelerator}:{job.gpus}" if job.gpus else None,
        "infra": sky.infra,
        "use_spot": sky.use_spot,
        "image_id": sky.image,
    }
    values = {"job": job, "placement": placement, "training": training_words(job), "port": PORT}
    return render(
        "sky.yaml.jinja",
        {
            "job": job,
            "name": re.sub(r"[^a-z0-9-]", "-", job.name.lower()),
            "script": script,
            "resources": {key: value for key, value in resources.items() if value is not None},
            "run": render("sky_run.sh.jinja", values),
        },
        filters={"yaml": inline},
    )


def folder_on_machines(folder: str | None, name: str) -> str:
    """Return the run's folder on rented machines.

    Raises:
        RecipeError: When no folder is known that outlives them.
    """
    if folder is None:
        raise RecipeError(
            "sky.folder of the cluster file is not set: rented machines are lost with their disks. Name a "
            "folder of a network volume that all of them see, such as "
            "sky: {folder: /shared/runs, volumes: {/shared: my-volume}}."
        )
    return f"{folder.rstrip('/')}/{name}"
