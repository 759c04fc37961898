"""Four processes on two machines, started by the script for Slurm: the same losses, and nothing is lost.

The placement is that of several machines (c10d, one launcher a machine), over gloo on CPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.machines import INTERFACE, NAMES, Machines, machines
from tests.faults.processes import wait_for_update
from tests.lab import QUIET, Lab
from tests.launching.stand_ins import stand_ins

__all__ = ["machines"]
pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.e2e]
RUN = "runs/tiny"
COUNTS = ("tokens", "words", "bytes", "documents", "epoch")


class Cluster:
    """A lab whose runs are jobs of two machines."""

    def __init__(self, lab: Lab, two: Machines) -> None:
        self.lab, self.two = lab, two
        self._environment = {
            **os.environ,
            **QUIET,
            **stand_ins(lab.folder / "bin"),
            "SLURM_JOB_NUM_NODES": "2",
            "STAND_IN_HEAD": NAMES[0],
            "STAND_IN_MACHINE_0": two.program(0),
            "STAND_IN_MACHINE_1": two.program(1),
        }
        (lab.folder / "cluster.yaml").write_text(
            f"python: {sys.executable}\nenvironment: {{GLOO_SOCKET_IFNAME: {INTERFACE}}}\n"
        )
        self._attempts = 0

    def write(self, *arguments: str, nodes: int = 2) -> None:
        """Write the job's script."""
        command = [
            sys.executable,
            "-m",
            "model_foundry",
            "launch",
            "slurm",
            "recipe.yaml",
            f"--nodes={nodes}",
        ]
        subprocess.run(
            [*command, "--gpus=0", "--placement=cpu_2_processes", "--requeue", *arguments],
            cwd=self.lab.folder,
            env=self._environment,
            check=True,
            capture_output=True,
        )

    def start(self, failpoint: str = "", nodes: int = 2) -> subprocess.Popen[str]:
        """Begin the job, or begin it again as Slurm does after ``scontrol requeue``."""
        counted = {"SLURM_RESTART_COUNT": str(self._attempts), "SLURM_JOB_NUM_NODES": str(nodes)}
        self._attempts += 1
        return subprocess.Popen(
            ["bash", str(self.lab.folder / RUN / "launch" / "submit.slurm")],
            env=self._environment | counted | {"MODEL_FOUNDRY_FAILPOINT": failpoint},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ends(self, job: subprocess.Popen[str], seconds: float = 200) -> tuple[int, str]:
        """Wait for the job; return its status and what it printed."""
        output, _ = job.communicate(timeout=seconds)
        return job.returncode, output


@pytest.fixture
def cluster(lab: Lab, machines: Machines) -> Iterator[Cluster]:
    return Cluster(lab, machines)


def must_equal_one_machine(lab: Lab) -> None:
    """Compare with as many processes on one machine, never stopped: every window, and every number nearly.

    Not to the last bit: DDP orders its buckets anew after the first backward pass of a process (torch 2.13),
    and four numbers have more than one sum.
    """
    lab.run("--run-dir=straight", processes=4)
    lines, expected = lab.metrics(RUN), lab.metrics("straight")
    assert [line["update"] for line in lines] == [line["update"] for line in expected]
    for line, straight in zip(lines, expected, strict=True):
        assert [line.get(key) for key in COUNTS] == [straight.get(key) for key in COUNTS]
        assert line == pytest.approx(straight, rel=1e-5)


def test_two_machines_give_the_losses_of_one_process(cluster: Cluster):
    cluster.write("model.dropout=0.0")
    status, output = cluster.ends(cluster.start())
    cluster.lab.run("--run-dir=one", "model.dropout=0.0")

    assert status == 0, output
    assert "tiny · 4 x cpu" in output
    for alone, dealt in zip(cluster.lab.metrics("one"), cluster.lab.metrics(RUN), strict=True):
        assert dealt == pytest.approx(alone, rel=1e-5)
    logs = sorted(path.name for path in (cluster.lab.folder / RUN / "logs").glob("rank?.log"))
    assert logs == ["rank0.log", "rank1.log", "rank2.log", "rank3.log"]


Loss = Callable[[Machines], None]
LOSSES: dict[str, tuple[Loss, str]] = {
    "crashes": (lambda two: two.crash(1), "peer_lost"),
    "is cut off": (lambda two: two.cut(), "hang"),
}


@pytest.mark.parametrize("what", LOSSES)
def test_where_a_machine_is_lost_the_job_is_queued_again_and_nothing_is_lost(cluster: Cluster, what: str):
    lose, reason = LOSSES[what]
    lab = cluster.lab
    cluster.write("training.hang_timeout=8s")
    job = cluster.start(failpoint="update.8=sleep:3")
    wait_until_begun(lab, job)
    wait_for_update(lab, RUN, 7)
    lose(cluster.two)
    status, output = cluster.ends(job)

    assert status == 75, output
    assert lab.status(RUN)["reason"] == reason, output
    assert NAMES[1] in str(lab.status(RUN)["message"])
    assert "queued again after update " in output
    cluster.two.mend()
    status, output = cluster.ends(cluster.start())
    assert status == 0, output
    assert "resumed from checkpoint-5" in output
    must_equal_one_machine(lab)


@pytest.mark.parametrize(
    "others",
    [
        pytest.param("", id="which_fail_too"),
        # Their agent may see the other one come anew first, and would then count no restart.
        pytest.param(",update.13@0=sleep:15,update.13@1=sleep:15", id="which_are_busy"),
    ],
)
def test_processes_that_fail_are_started_again_with_those_of_the_other_machine(cluster: Cluster, others: str):
    cluster.write("--max-restarts=2")
    status, output = cluster.ends(cluster.start(failpoint=f"update.13@3=kill{others}"))

    assert status == 0, output
    assert "resumed from checkpoint-10" in output
    must_equal_one_machine(cluster.lab)


def test_a_job_of_fewer_machines_goes_on_with_the_same_windows(cluster: Cluster):
    lab = cluster.lab
    cluster.write("model.dropout=0.0")
    status, output = cluster.ends(cluster.start(failpoint="update.13@0=signal:SIGTERM"))
    assert status == 75, output
    assert lab.status(RUN)["state"] == "preempted"

    cluster.write("model.dropout=0.0", nodes=1)
    status, output = cluster.ends(cluster.start(nodes=1))

    assert status == 0, output
    lab.run("--run-dir=one", "model.dropout=0.0")
    for alone, dealt in zip(lab.metrics("one"), lab.metrics(RUN), strict=True):
        assert dealt == pytest.approx(alone, rel=1e-5)


def wait_until_begun(lab: Lab, job: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (lab.folder / RUN / "status.json").exists():
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
