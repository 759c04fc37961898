"""Jobs whose scripts are kept in ``golden/``: all kinds of them, with paths of no machine.

``python -m tests.launching.jobs`` writes the files anew; what changed is then read in the diff.
"""

from __future__ import annotations

from pathlib import Path

from model_foundry.launching.cluster import Cluster
from model_foundry.launching.job import Job
from model_foundry.launching.sky import sky_file
from model_foundry.launching.slurm import slurm_script
from model_foundry.launching.spreading import choose_placement, placement_text, processes_per_node, spread

GOLDEN = Path(__file__).parent / "golden"
_LAUNCH = Path("/scratch/runs/llama-1b/launch")
_SITE = {
    "slurm": {
        "account": "proj42", "partition": "gpu,spare", "qos": "long", "constraint": "a100|h100",
        "gpus_as": "gres", "gpu_type": "h100", "cpus_per_node": 64, "options": ["--exclusive", "--mem=0"],
        "host_suffix": "-ib0", "warning": "15m",
    },
    "modules": ["cuda/12.8", "nccl/2.27"],
    "environment": {"HF_HUB_OFFLINE": 1, "GREETING": "it's $HOME"},
    "setup": ["source /scratch/venv/bin/activate"],
}  # fmt: skip


def job(
    *, nodes: int, gpus: int, placement: str | None = None, cluster: object = None, **facts: object
) -> Job:
    """Return a job of these machines, with the usual rest."""
    chosen = choose_placement(placement, nodes=nodes, gpus=gpus)
    common: dict[str, object] = {
        "name": "llama-1b", "recipe": "/scratch/me/llama-1b.yaml", "run": "/scratch/runs/llama-1b",
        "folder": "/scratch/me", "seconds": 12 * 3600, "command": "model-foundry launch slurm llama-1b.yaml",
    }  # fmt: skip
    return Job(
        nodes=nodes,
        gpus=gpus,
        per_node=processes_per_node(chosen, gpus),
        placement=chosen.name,
        cluster=Cluster.model_validate(cluster or {}),
        **(common | facts),  # type: ignore[arg-type]
    )


def _slurm(one: Job) -> str:
    kind = "smoke" if one.is_smoke else "submit"
    return slurm_script(one, script=_LAUNCH / f"{kind}.slurm", placement=_LAUNCH / f"{kind}.placement.yaml")


def _sky(one: Job) -> str:
    chosen = choose_placement(None, nodes=one.nodes, gpus=one.gpus)
    settings = spread(chosen, nodes=one.nodes, per_node=one.per_node)
    return sky_file(one, script=Path("sky.llama-1b.yaml"), placement=placement_text(chosen, settings))


def scripts() -> dict[str, str]:
    """Return every script by the name of its golden file."""
    pyxis = {"container": {"image": "/images/torch.sqsh", "mounts": ["/scratch:/scratch"]}}
    apptainer = {"container": {**pyxis["container"], "runner": "apptainer"}, "python": "python3"}
    rented = {
        "sky": {
            "folder": "/shared/runs", "accelerator": "H100", "infra": "gcp/us-central1", "use_spot": True,
            "volumes": {"/shared": "my-volume"},
        },
        "environment": {"HF_HUB_OFFLINE": 1},
        "setup": ["pip install model-foundry"],
    }  # fmt: skip
    spaced = {"folder": "/scratch/me/my texts", "overrides": ("name=it's", "training.duration=50 updates")}
    in_sky = {"recipe": "llama-1b.yaml", "run": "/shared/runs/llama-1b", "cluster": rented}
    return {
        "four_nodes.slurm": _slurm(job(nodes=4, gpus=8, cluster=_SITE, requeue=True, max_restarts=2)),
        "smoke.slurm": _slurm(job(nodes=2, gpus=4, cluster=_SITE, is_smoke=True)),
        "one_gpu.slurm": _slurm(job(nodes=1, gpus=1, **spaced)),
        "cpus.slurm": _slurm(job(nodes=1, gpus=0, placement="cpu_2_processes", allow_custom_code=True)),
        "pyxis.slurm": _slurm(job(nodes=2, gpus=4, cluster=pyxis, placement="fsdp2")),
        "apptainer.slurm": _slurm(job(nodes=1, gpus=4, cluster=apptainer, is_smoke=True)),
        "two_nodes.sky.yaml": _sky(job(nodes=2, gpus=8, max_restarts=3, **in_sky)),  # type: ignore[arg-type]
        "one_gpu.sky.yaml": _sky(job(nodes=1, gpus=1, **in_sky)),  # type: ignore[arg-type]
    }


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, text in scripts().items():
        (GOLDEN / name).write_text(text)
