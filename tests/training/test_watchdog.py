from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

import pytest
import torch

from model_foundry.errors import Preempted, ResourceError
from model_foundry.run_directory import boot_id
from model_foundry.training.peers import as_told_by_peers
from model_foundry.training.stopping import StopRequest
from model_foundry.training.watchdog import Watchdog


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("model_foundry.training.watchdog._LOOK_SECONDS", 0.0)


def watchdog(folder, *, processes=3, timeout=600.0) -> Watchdog:
    stop = StopRequest(folder, None)
    stacks = folder / "stacks.txt"
    return Watchdog(folder, stacks, rank=0, processes=processes, timeout=timeout, tell=print, stop=stop)


def write(folder, rank: int, **facts) -> None:
    known = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot_id": boot_id(),
        "update": 6,
        "doing": "update",
    }
    known |= {"waits": True, "idle_seconds": 5.0, "ended": None, "is_witness": False}
    (folder / f"rank{rank}.alive").write_text(json.dumps({**known, **facts}))


@pytest.fixture(scope="module")
def gone() -> int:
    """The id of a process that ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_ended_without_a_word_is_named(tmp_path, gone):
    write(tmp_path, 1)
    write(tmp_path, 2, pid=gone)

    found = watchdog(tmp_path).suspects()

    where = f"(process {gone} on {socket.gethostname()})"
    assert found == f"rank 2 {where} ended without a word, as if killed; last heard of in update 7"


def test_a_process_that_told_its_end_is_quoted(tmp_path):
    write(tmp_path, 1, ended="MemoryError: too much")
    write(tmp_path, 2)

    assert re.fullmatch(
        r"rank 1 \(process \d+ on \S+\) ended in MemoryError: too much", watchdog(tmp_path).suspects()
    )


def test_one_that_ended_because_it_lost_another_is_not_the_cause(tmp_path, gone):
    write(tmp_path, 1, ended="ResourceError: another process was lost", is_witness=True)
    write(tmp_path, 2, pid=gone)

    found = watchdog(tmp_path).suspects()

    assert found.startswith("rank 2 ")
    assert "rank 1" not in found


def test_a_silent_process_is_named_before_a_busy_one(tmp_path):
    write(tmp_path, 1, waits=False)
    write(tmp_path, 2)
    os.utime(tmp_path / "rank2.alive", (0, 0))

    assert re.search(
        r"^rank 2 \(process .*\) has been silent for \d+ s: stopped", watchdog(tmp_path).suspects()
    )


def test_a_process_that_never_came_is_named(tmp_path):
    write(tmp_path, 1)

    assert watchdog(tmp_path).suspects() == "rank 2 has left no sign of life"


def test_among_the_living_the_one_that_does_not_wait_is_named(tmp_path):
    write(tmp_path, 1, doing="evaluation", waits=False)
    write(tmp_path, 2)

    found = watchdog(tmp_path).suspects()

    assert re.fullmatch(
        r"rank 1 .* is alive, in the evaluation after update 6 for 5 s without progress", found
    )


def test_nobody_is_accused_without_a_reason(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)

    assert watchdog(tmp_path).suspects() == "none of the other processes could be singled out"


def test_it_says_what_it_does_and_leaves_no_file_at_a_good_end(tmp_path):
    dog = watchdog(tmp_path)
    dog.beat("save", update=4, waits=True)
    dog.start()
    facts = json.loads((tmp_path / "rank0.alive").read_text())
    dog.stop()

    assert (facts["pid"], facts["update"], facts["doing"], facts["waits"]) == (os.getpid(), 4, "save", True)
    assert not list(tmp_path.iterdir())


def test_it_leaves_word_of_a_bad_end(tmp_path):
    dog = watchdog(tmp_path)
    dog.start()
    dog.stop(ValueError("wrong\nin two lines"))

    assert json.loads((tmp_path / "rank0.alive").read_text())["ended"] == "ValueError: wrong"


def test_progress_keeps_a_process_alive_and_standing_still_ends_it(tmp_path):
    script = """
import sys, time
from pathlib import Path
from model_foundry.training.stopping import StopRequest
from model_foundry.training.watchdog import Watchdog
folder = Path(sys.argv[1])
dog = Watchdog(folder, folder / "stacks", rank=0, processes=1, timeout=2.5,
               tell=lambda error: print("told", error.reason, flush=True), stop=StopRequest(folder, None))
dog.start()
for _ in range(8):
    time.sleep(0.5)
    dog.beat("update", update=1)
print("alive", flush=True)
def stand_still():
    time.sleep(60)
stand_still()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 1
    assert done.stdout == "alive\ntold hang\n"
    assert "error: rank 0: no progress for 2 s (training.hang_timeout) in update 2." in done.stderr
    assert "in stand_still" in (tmp_path / "stacks").read_text()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:4242"),
        RuntimeError("Gloo connectFullMesh failed"),
        torch.distributed.DistBackendError("remote process exited"),
    ],
)
def test_a_failed_collective_names_the_lost_process(tmp_path, gone, error):
    write(tmp_path, 1, pid=gone)

    found = as_told_by_peers(error, watchdog(tmp_path, processes=2), "checkpoint-5")

    assert isinstance(found, ResourceError)
    assert (found.reason, found.exit_status) == ("peer_lost", 1)
    assert str(found).startswith("another process of this run was lost: rank 1 (process ")
    assert "Last good checkpoint: checkpoint-5" in str(found)


def test_a_failed_collective_is_found_behind_the_error_that_it_caused(tmp_path, gone):
    write(tmp_path, 1, pid=gone)
    error = ResourceError("checkpoint-5 could not be saved")
    error.__cause__ = RuntimeError("Connection reset by peer")

    assert as_told_by_peers(error, watchdog(tmp_path, processes=2), None) is not None


@pytest.mark.parametrize("error", [ValueError("gloomy"), RuntimeError("shapes differ"), Preempted("gloo")])
def test_other_errors_are_left_as_they_are(tmp_path, error):
    assert as_told_by_peers(error, watchdog(tmp_path), None) is None
