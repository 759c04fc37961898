"""The command that writes scripts: what it asks for, keeps and refuses; and a smoke job for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import ModelFoundryError, RecipeError
from model_foundry.launching import smoke
from model_foundry.launching.cluster import Cluster, read_cluster
from model_foundry.launching.placements import find_placement, shipped_placements
from model_foundry.launching.spreading import choose_placement, placement_text, spread
from tests.lab import QUIET, Lab
from tests.launching.stand_ins import stand_ins


def launch(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["launch", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_script_is_printed_and_kept_with_its_placement_in_the_runs_folder(here: Path):
    done = launch("slurm", "demo", "--nodes=4", "--gpus=8", "--time=12:00:00", "--requeue", "seed=7")

    kept = here / "runs" / "demo" / "launch"
    assert done.stdout == (kept / "submit.slurm").read_text()
    assert "#SBATCH --nodes=4\n" in done.stdout
    assert "#SBATCH --requeue\n" in done.stdout
    assert "training=(demo seed=7)" in done.stdout
    assert f"sbatch {kept}/submit.slurm" in done.stderr
    sizes = read(kept / "submit.placement.yaml").parallelism_config
    assert prod(sizes[f"parallelism_config_{name}_size"] for name in ("dp_replicate", "dp_shard", "tp")) == 32


def test_a_run_begins_in_a_folder_that_holds_nothing_but_its_script(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
):
    from model_foundry.run_directory import RunDirectory

    monkeypatch.chdir(lab.folder)
    launch("slurm", "recipe.yaml")
    run = RunDirectory(lab.folder / "runs" / "tiny")

    assert run.open(resume=False) is None
    run.close()


def read(path: Path) -> Any:
    from accelerate.commands.config.config_args import load_config_from_file

    return load_config_from_file(str(path))


MACHINES = [(1, 8), (2, 4), (4, 8)]


@pytest.mark.parametrize("name", sorted(shipped_placements()))
@pytest.mark.parametrize(("nodes", "per_node"), MACHINES)
def test_a_placement_is_spread_over_machines_as_accelerate_reads_it(
    name: str, nodes: int, per_node: int, tmp_path: Path
):
    placement = find_placement(name)
    if placement.settings["distributed_type"] == "NO":
        with pytest.raises(
            RecipeError, match=f"{name} starts one process, and {nodes} x {per_node} are asked"
        ):
            spread(placement, nodes=nodes, per_node=per_node)
        return
    settings = spread(placement, nodes=nodes, per_node=per_node)
    path = tmp_path / "placement.yaml"
    path.write_text(placement_text(placement, settings))

    found = read(path)

    assert (found.num_machines, found.num_processes) == (nodes, nodes * per_node)
    assert found.mixed_precision == "no"
    assert found.distributed_type == placement.settings["distributed_type"]
    if nodes > 1:
        assert (found.rdzv_backend, found.same_network) == ("c10d", False)
    if sizes := found.parallelism_config:
        assert prod(value for key, value in sizes.items() if key.endswith("_size")) == nodes * per_node
    if found.deepspeed_config and nodes > 1:
        assert found.deepspeed_config["deepspeed_multinode_launcher"] == "standard"


def test_copies_stand_between_machines_and_parts_within_them():
    sizes = spread(find_placement("multi_node"), nodes=4, per_node=8)["parallelism_config"]

    assert sizes["parallelism_config_dp_replicate_size"] == 4
    assert sizes["parallelism_config_dp_shard_size"] == 8


@pytest.mark.parametrize(
    ("nodes", "gpus", "name"),
    [(1, 1, "single_gpu"), (1, 8, "ddp"), (2, 1, "multi_node"), (4, 8, "multi_node")],
)
def test_the_usual_placement_follows_from_machines_and_gpus(nodes: int, gpus: int, name: str):
    assert choose_placement(None, nodes=nodes, gpus=gpus).name == name


REFUSED: dict[str, tuple[list[str], str]] = {
    "a length without a unit": (["slurm", "demo", "--time=12"], "--time 12: expected hours:minutes:seconds"),
    "too short to be warned": (
        ["slurm", "demo", "--time=10m"],
        "--time 00:10:00: the job would be asked to stop 600 s before its end",
    ),
    "no GPU and no placement": (["slurm", "demo", "--gpus=0"], "--gpus 0: name a placement for CPUs"),
    "GPUs for CPUs": (
        ["slurm", "demo", "--placement=cpu"],
        "--placement cpu is for CPUs: give --gpus 0 with it",
    ),
    "CPUs for GPUs": (
        ["slurm", "demo", "--gpus=0", "--placement=ddp"],
        "ddp is for GPUs: give --gpus with it",
    ),
    "one process on several": (
        ["slurm", "demo", "--nodes=2", "--placement=single_gpu"],
        "single_gpu starts one process, and 2 x 1 are asked for",
    ),
    "several processes on one": (["slurm", "demo", "--placement=ddp"], "ddp is for several processes"),
    "layers over more than a machine has": (
        ["slurm", "demo", "--nodes=2", "--gpus=3", "--placement=tensor_parallel"],
        "divides each layer or window over 2 processes, and a machine has 3",
    ),
    "copies in no parts": (
        ["slurm", "demo", "--nodes=2", "--gpus=1"],
        "multi_node keeps 2 copies of the model, each in parts, and 2 x 1 processes cannot be divided so",
    ),
    "restarts of one process": (
        ["slurm", "demo", "--max-restarts=1"],
        "--max-restarts: only a launcher of several",
    ),
    "no sbatch": (
        ["slurm", "demo", "--submit"],
        "--submit: there is no sbatch here. On a login node: sbatch ",
    ),
    "a wrong recipe": (["slurm", "demo", "training.duratoin=1"], "Did you mean 'duration'?"),
    "nothing that outlives": (["sky", "demo"], "sky.folder of the cluster file is not set"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_refused(case: str, here: Path, monkeypatch: pytest.MonkeyPatch):
    arguments, message = REFUSED[case]
    monkeypatch.setenv("PATH", os.defpath if shutil.which("sbatch", path=os.defpath) is None else "")

    with pytest.raises(RecipeError) as caught:
        launch(*arguments)

    assert message in str(caught.value)


def test_sbatch_is_given_the_script_and_its_refusal_is_told(here: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in stand_ins(here / "bin").items():
        monkeypatch.setenv(name, value)

    done = launch("slurm", "demo", "--submit")

    assert "submitted as job 81234; it writes to " in done.stderr
    (here / "bin" / "sbatch").write_text("#!/bin/sh\necho 'no such partition' >&2\nexit 1\n")
    with pytest.raises(RecipeError, match=r"--submit: sbatch refused .*submit\.slurm: no such partition"):
        launch("slurm", "demo", "--submit")


def test_a_file_for_skypilot_names_the_recipe_from_the_folder_that_is_copied(lab: Lab, monkeypatch):
    (lab.folder / "inner").mkdir()
    (lab.folder / "cluster.yaml").write_text("sky: {folder: /shared/runs}\n")
    monkeypatch.chdir(lab.folder)

    done = launch("sky", "recipe.yaml", "--gpus=8")

    assert done.stdout == (lab.folder / "sky.tiny.yaml").read_text()
    assert 'training=(recipe.yaml --run-dir "$run")' in done.stdout
    assert "run=/shared/runs/tiny\n" in done.stdout
    shutil.copy("cluster.yaml", "inner")
    monkeypatch.chdir(lab.folder / "inner")
    with pytest.raises(RecipeError, match=r"\.\./recipe\.yaml is outside this folder, and SkyPilot copies"):
        launch("sky", "../recipe.yaml", "--gpus=8")


def test_a_site_without_a_file_has_no_facts(here: Path):
    assert read_cluster(None) == Cluster()


def test_every_mistake_of_a_cluster_file_is_told_with_its_place(here: Path):
    (here / "cluster.yaml").write_text(
        "slurm:\n"
        "  partiton: gpu\n"
        "  account: my project\n"
        "  warning: 600\n"
        "  options: [--exclusive, 'rm -rf x']\n"
        "  cpus_per_node: 0\n"
        "environment: {1X: a, HF_TOKEN: hf_abcdefghijkl}\n"
        "container: {mounts: ['/a:/b']}\n"
    )

    with pytest.raises(RecipeError) as caught:
        read_cluster(None)

    text = str(caught.value)
    assert "cluster.yaml:2:3 slurm.partiton: unknown key. Did you mean 'partition'?" in text
    assert "cluster.yaml:3:12 slurm.account: found 'my project', expected one word, without spaces" in text
    assert "cluster.yaml:4:12 slurm.warning: found 600, expected a length of time such as 90s" in text
    assert "cluster.yaml:5:26 slurm.options.1: found 'rm -rf x', expected one option of sbatch" in text
    assert "slurm.cpus_per_node: found 0, expected greater than 0" in text
    assert "environment.1X: found 'a', expected the name of a variable" in text
    assert "environment.HF_TOKEN: looks like a secret" in text
    assert "container.image: is missing" in text
    assert "8 problems" in text


def test_a_secret_alone_is_refused_too(here: Path):
    (here / "site.yaml").write_text("environment: {X: hf_abcdefghijkl}\n")

    with pytest.raises(RecipeError, match=r"environment\.X: looks like a secret"):
        read_cluster(here / "site.yaml")


def test_a_cluster_file_that_is_not_there_is_told(here: Path):
    with pytest.raises(RecipeError, match=r"no\.yaml: cannot be read as facts of a cluster: No such file"):
        read_cluster(here / "no.yaml")


def metrics(run: Path, name: str, losses: Mapping[int, float]) -> None:
    lines = [f'{{"update": {update}, "loss": {loss}}}\n' for update, loss in losses.items()]
    (run / name).write_text("".join(lines))


def test_losses_after_a_resume_are_compared_with_those_before(tmp_path: Path):
    first = {update: 5.0 - update / 10 for update in range(1, 21)}
    metrics(tmp_path, "metrics.first.jsonl", first)
    metrics(tmp_path, "metrics.jsonl", first)
    assert smoke.compare(tmp_path) == "resumed: 10 updates have the same loss, to the last bit"

    metrics(tmp_path, "metrics.jsonl", {**first, 12: first[12] * 1.001})
    assert "nearly the same losses; at most, update 12 has loss 3.8" in smoke.compare(tmp_path)
    for wrong in (first[20] * 1.02, float("nan")):
        metrics(tmp_path, "metrics.jsonl", {**first, 20: wrong})
        (tmp_path / "metrics.jsonl").write_text(
            (tmp_path / "metrics.jsonl").read_text().replace("nan", "NaN")
        )
        with pytest.raises(ModelFoundryError, match=r"update 20 has loss .*; expected less than 0\.01"):
            smoke.compare(tmp_path)
    metrics(tmp_path, "metrics.jsonl", {})
    with pytest.raises(ModelFoundryError, match="no update was done twice"):
        smoke.compare(tmp_path)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.e2e
def test_a_smoke_job_trains_saves_resumes_and_passes(lab: Lab):
    (lab.folder / "cluster.yaml").write_text(f"python: {sys.executable}\n")
    environment = {**os.environ, **QUIET, **stand_ins(lab.folder / "bin")}
    write = [sys.executable, "-m", "model_foundry", "launch", "slurm", "recipe.yaml", "--smoke"]
    subprocess.run(
        [*write, "--gpus=0", "--placement=cpu_2_processes"], cwd=lab.folder, env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    launch_folder = lab.folder / "runs" / "tiny" / "launch"

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(launch_folder / "smoke.slurm")]
        return subprocess.run(
            command, cwd="/", env=environment | more, capture_output=True, text=True, timeout=240, check=False
        )

    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all-reduce of 64 MiB over 2 processes: exact, " in done.stdout
    assert "resumed from checkpoint-10" in done.stdout
    assert "resumed: 10 updates have the same loss, to the last bit" in done.stdout
    assert done.stdout.splitlines()[-1] == "smoke: passed"
    name = "runs/tiny/launch/smoke-81234"
    assert lab.status(name)["update"] == 20

    failed = run(SLURM_JOB_ID="81235", MODEL_FOUNDRY_FAILPOINT="update.7@1=kill")
    assert failed.returncode != 0
    assert failed.stdout.splitlines()[-1] == "smoke: FAILED; what was said is above"
