from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.faults.processes import must_be_gone, wait_for_update
from tests.lab import Lab

LOST = ["update.7", "evaluation.6", "save.state"]
WAYS = {"kill": "as if killed", "errno:5": "Input/output error"}
QUICK = [("update.7", 1, "kill"), ("evaluation.6", 0, "kill"), ("save.state", 1, "errno:5")]
ALL = [(place, rank, way) for place in LOST for rank in (0, 1) for way in WAYS]
TIMEOUT = "training.hang_timeout=4s"
START = "training.start_timeout=3s"


def last_checkpoint(lab: Lab) -> str | None:
    found = lab.status("run").get("last_good_checkpoint")
    return str(found) if found else None


def lost(lab: Lab, place: str, rank: int, way: str) -> None:
    began = time.monotonic()
    status, output = lab.ends("--run-dir=run", processes=2, failpoint=f"{place}@{rank}={way}")

    assert status != 0
    assert time.monotonic() - began < 60, "the other process waited"
    found = lab.status("run")
    checkpoints = lab.folder / "run" / "checkpoints"
    told = output if rank == 0 else str(found["message"])  # rank 0 writes the status, and it is gone
    assert f"another process of this run was lost: rank {rank} (process " in told, output
    assert WAYS[way] in told
    if rank == 1:
        assert (found["state"], found["exit_code"], found["reason"]) == ("failed", 1, "peer_lost")
    elif way != "kill":
        assert (found["state"], found["reason"]) == ("failed", "io_error")
    newest = "checkpoint-5" if place != "save.state" else None
    assert last_checkpoint(lab) == newest
    assert sorted(path.name for path in checkpoints.glob("checkpoint-*")) == (
        ["checkpoint-0", "checkpoint-5"] if newest else []
    )
    lab.run("--run-dir=run", "--resume-from=latest", processes=2)
    assert lab.status("run")["state"] == "finished"


@pytest.mark.parametrize(("place", "rank", "way"), QUICK)
def test_a_lost_process_is_named_and_the_run_goes_on_from_the_last_checkpoint(lab, place, rank, way):
    lost(lab, place, rank, way)


@pytest.mark.nightly
@pytest.mark.parametrize(("place", "rank", "way"), [case for case in ALL if case not in QUICK])
def test_so_it_is_wherever_a_process_is_lost(lab, place, rank, way):
    lost(lab, place, rank, way)


@pytest.mark.parametrize(
    ("place", "rank"),
    [
        ("update.7", 1),
        pytest.param("evaluation.6", 0, marks=pytest.mark.nightly),
        pytest.param("evaluation.6", 1, marks=pytest.mark.nightly),
        pytest.param("save.state", 0, marks=pytest.mark.nightly),
        pytest.param("save.state", 1, marks=pytest.mark.nightly),
    ],
)
def test_a_process_that_hangs_ends_the_run_within_the_stated_time(lab, place, rank):
    began = time.monotonic()
    status, output = lab.ends("--run-dir=run", TIMEOUT, processes=2, failpoint=f"{place}@{rank}=sleep:300")

    assert status == 1
    assert time.monotonic() - began < 60
    found = lab.status("run")
    assert (found["state"], found["exit_code"], found["reason"]) == ("failed", 1, "hang")
    assert f"rank {rank}" in output
    assert "no progress for 4 s (training.hang_timeout) in " in output
    stacks = (lab.folder / "run" / "logs" / f"rank{rank}.stacks.txt").read_text()
    assert "in reach" in stacks  # where it hung


def test_a_single_process_that_hangs_ends_and_says_where(lab):
    status, output = lab.ends("--run-dir=run", TIMEOUT, failpoint="evaluation.6=sleep:300")

    assert status == 1
    found = lab.status("run")
    assert (found["state"], found["reason"], found["last_good_checkpoint"]) == (
        "failed",
        "hang",
        "checkpoint-5",
    )
    assert "in the evaluation after update 6" in str(found["message"])
    assert "Use --resume-from latest" in output


@pytest.fixture
def torchrun(lab: Lab) -> Iterator[psutil.Process]:
    lab.environment["MODEL_FOUNDRY_FAILPOINT"] = "update.7@1=signal:SIGSTOP"
    launcher = lab.start("--run-dir=run", TIMEOUT, processes=2)
    yield psutil.Process(launcher.pid)
    with suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
    launcher.communicate()


@pytest.mark.nightly
def test_a_stopped_process_is_named_as_silent_and_nothing_is_left(lab, torchrun):
    wait_for_update(lab, "run", 6)
    family = torchrun.children(recursive=True)
    torchrun.wait(timeout=60)  # torchrun gives the stopped process 30 s before it kills it

    found = lab.status("run")
    assert (found["state"], found["reason"]) == ("failed", "hang")
    assert "waiting for the other processes: rank 1 (process " in str(found["message"])
    assert "has been silent for " in str(found["message"])
    must_be_gone(family)


def test_a_worker_of_the_loader_that_is_killed_is_told(lab):
    [child] = lab.begin("--run-dir=run", "data.workers=2", failpoint="update.7=sleep:1,update.8=sleep:2")
    wait_for_update(lab, "run", 6)
    workers = psutil.Process(child).children()
    workers[1].kill()
    status, output = lab.wait([child])

    assert status == 1, output
    assert f"DataLoader worker (pid {workers[1].pid}) is killed by signal: Killed" in output
    assert "It fetched batches (data.workers)" in output
    assert (lab.status("run")["state"], lab.status("run")["exit_code"]) == ("failed", 1)
    must_be_gone(workers)


def test_a_process_that_never_comes_is_named_within_the_stated_time(lab):
    status, output = lab.ends("--run-dir=run", START, processes=2, failpoint="meeting@1=kill")

    assert status == 1, output
    assert "1 of 2 processes did not come within 3 s (training.start_timeout): rank 1; rank 0 on " in output
    found = lab.status("run")
    assert (found["state"], found["exit_code"], found["reason"]) == ("failed", 1, "peer_lost")


@pytest.mark.slow
@pytest.mark.nightly
def test_where_the_first_process_never_comes_the_others_say_so(lab):
    status, output = lab.ends("--run-dir=run", START, processes=2, failpoint="meeting@0=kill")

    assert status == -signal.SIGKILL
    assert "rank 1 on " in output
    assert "lost, or never reached, the store of the run at 127.0.0.1:" in output


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_lost_before_the_first_update_is_told_as_lost(lab, rank):
    _, output = lab.ends("--run-dir=run", processes=2, failpoint=f"built@{rank}=kill")

    assert "another process of this run was lost before the first update: " in output
    if rank == 1:
        assert (lab.status("run")["state"], lab.status("run")["reason"]) == ("failed", "peer_lost")


def end_of(child: int, seconds: float = 120) -> tuple[float, int]:
    """Wait for a process; return when it ended, and with which status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return time.monotonic(), os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"process {child} did not end")


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("place", LOST)
@pytest.mark.parametrize("rank", [0, 1])
def test_the_other_process_ends_within_ten_seconds_and_the_last_checkpoint_holds(lab, place, rank):
    from model_foundry.training.checkpoint_files import open_checkpoint

    place = place.replace("save.state", "publish.manifest") if rank == 0 else place
    children = lab.begin("--run-dir=run", processes=2, failpoint=f"{place}@{rank}=kill")
    killed_at, status = end_of(children[rank])
    ended_at, other = end_of(children[1 - rank])

    assert (status, other) == (-signal.SIGKILL, 1)
    assert ended_at - killed_at < 10
    log = (lab.folder / "run" / "logs" / f"rank{1 - rank}.log").read_text()
    assert f"another process of this run was lost: rank {rank} (process {children[rank]}" in log
    newest = "checkpoint-5" if place.startswith(("update", "evaluation")) else None
    found = lab.status("run")
    if rank == 1:
        assert (found["state"], found["exit_code"], found["reason"]) == ("failed", 1, "peer_lost")
    else:  # it is the one that writes this, and is gone
        assert (found["state"], found["pid"]) == ("running", children[0])
    assert found.get("last_good_checkpoint") == newest
    if newest:
        assert open_checkpoint(lab.folder / "run" / "checkpoints" / newest).updates == 5


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("rank", [0, 1])
def test_where_a_process_is_stopped_the_other_ends_within_the_stated_time(lab, rank):
    children = lab.begin("--run-dir=run", TIMEOUT, processes=2, failpoint=f"update.7@{rank}=signal:SIGSTOP")
    stopped = psutil.Process(children[rank])
    try:
        deadline = time.monotonic() + 120
        while stopped.status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        stopped_at = time.monotonic()
        ended_at, status = end_of(children[1 - rank])
    finally:
        stopped.kill()
        os.waitpid(children[rank], 0)

    assert status == 1
    assert 3 < ended_at - stopped_at < 14  # 4 s, a tick of the watchdog, and a look at the other one's files
    told = (lab.folder / ".output-1").read_text() if rank == 0 else str(lab.status("run")["message"])
    assert f"waiting for the other processes: rank {rank} (process {children[rank]}" in told
    if rank == 1:
        assert (lab.status("run")["state"], lab.status("run")["reason"]) == ("failed", "hang")
