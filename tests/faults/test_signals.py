from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import model_foundry
from tests.faults.processes import Straight, events, must_be_gone, wait_for_update, wait_until
from tests.lab import QUIET, Lab

CPU = Path(model_foundry.__file__).parents[1] / "accelerate_configs" / "cpu.yaml"
SAVED_AT = {  # where a signal comes, and the update whose state is saved then
    "update.1": 1,
    "update.7": 7,
    "update.7.1": 7,  # between two micro-batches
    "evaluation.6": 6,
    "evaluation.24": 24,
    "save.state": 0,
}
SMALL = (
    "training.micro_batch_size=2"  # of 8 windows: four micro-batches an update, two for each of two processes
)
QUICK = [
    ("update.7.1", "SIGTERM", 1),
    ("evaluation.24", "SIGINT", 1),
    ("save.state", "SIGUSR1", 1),
    ("update.7@1", "SIGTERM", 2),
    ("evaluation.6@0", "SIGUSR1", 2),
]
ALL = [
    (place + rank, name, processes)
    for place, name, (processes, rank) in itertools.product(
        SAVED_AT, ("SIGTERM", "SIGINT", "SIGUSR1"), [(1, ""), (2, ""), (2, "@0"), (2, "@1")]
    )
]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return Straight(tmp_path_factory.mktemp("straight"))


@pytest.fixture
def launched(lab: Lab) -> Iterator[list[subprocess.Popen[str]]]:
    """A list for launchers, whose whole families are ended after the test, whatever it found."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell lets what it starts in the background ignore SIGINT, and a launcher would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    launchers: list[subprocess.Popen[str]] = []
    yield launchers
    for launcher in launchers:
        try:
            os.killpg(launcher.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        launcher.communicate()


def saved_and_resumed(lab: Lab, straight: Straight, place: str, name: str, processes: int) -> None:
    failpoint = f"{place}=signal:{name}"
    status, output = lab.ends("--run-dir=run", SMALL, processes=processes, failpoint=failpoint)

    assert status == 75, output
    found = lab.status("run")
    update = SAVED_AT[place.partition("@")[0]]
    assert (found["state"], found["exit_code"], found["reason"]) == ("preempted", 75, "preempted")
    assert (found["update"], found["last_good_checkpoint"]) == (update, f"checkpoint-{update}")
    assert f"stopped by {name}" in str(found["message"])
    assert f"after update {update}; the state is saved" in str(found["message"])
    assert not list((lab.folder / "run" / "control").iterdir())

    lab.run("--run-dir=run", "--resume-from=latest", SMALL, processes=processes)
    straight.must_equal(lab, "run", SMALL, processes=processes)


@pytest.mark.parametrize(("place", "name", "processes"), QUICK)
def test_a_signal_leads_to_a_save_and_the_run_goes_on_as_if_there_had_been_none(
    lab, straight, place, name, processes
):
    saved_and_resumed(lab, straight, place, name, processes)


@pytest.mark.nightly
@pytest.mark.parametrize(("place", "name", "processes"), [case for case in ALL if case not in QUICK])
def test_so_does_every_signal_everywhere(lab, straight, place, name, processes):
    saved_and_resumed(lab, straight, place, name, processes)


@pytest.mark.parametrize("stage", ["training", "tokenizing"])
def test_a_signal_while_data_are_prepared_saves_nothing_and_keeps_what_is_prepared(lab, straight, stage):
    lab.environment["MODEL_FOUNDRY_CACHE"] = str(lab.folder / "cache")
    status, output = lab.ends("--run-dir=run", failpoint=f"prepare.{stage}=signal:SIGTERM")

    assert status == 75, output
    assert lab.status("run")["state"] == "preempted"
    assert "stopped by SIGTERM before the first update" in output
    assert not list((lab.folder / "run" / "checkpoints").iterdir())
    kept = {
        path.parent.name
        for path in (lab.folder / "cache").glob("*/*/manifest.json")
        if path.parent.name[0] != "."
    }
    assert len(kept) == (stage == "tokenizing")  # the tokenizer, whose training was done
    assert not list((lab.folder / "cache").rglob("*.partial"))

    lab.run("--run-dir=run", "--resume-from=latest")
    straight.must_equal(lab, "run")


def test_what_is_due_after_the_update_of_a_signal_is_measured_by_the_run_that_goes_on(lab, straight):
    status, output = lab.ends("--run-dir=run", SMALL, failpoint="update.6=signal:SIGTERM")
    assert status == 75, output
    assert not any("perplexity/loss" in line for line in lab.metrics("run") if line["update"] == 6)

    lab.run("--run-dir=run", "--resume-from=latest", SMALL)

    straight.must_equal(lab, "run", SMALL)


def test_a_signal_after_the_last_save_changes_nothing(lab):
    status, output = lab.ends("--run-dir=run", failpoint="goodbye=signal:SIGTERM")

    assert status == 0, output
    assert lab.status("run")["state"] == "finished"


def test_signals_that_a_launcher_repeats_are_one_request(lab):
    failpoint = (
        "update.7=signal:SIGTERM,update.7.0=signal:SIGTERM,update.8=signal:SIGINT,save.state=signal:SIGTERM"
    )
    status, output = lab.ends("--run-dir=run", failpoint=failpoint.partition(",save")[0])

    assert status == 75, output
    assert lab.status("run")["update"] == 7


def test_a_second_signal_ends_at_once_and_the_next_start_removes_what_was_half_written(lab, straight):
    children = lab.begin("--run-dir=run", failpoint="save.state=sleep:60")
    checkpoints = lab.folder / "run" / "checkpoints"
    wait_until(lambda: checkpoints.is_dir() and list(checkpoints.glob(".tmp-*")))
    os.kill(children[0], signal.SIGTERM)
    time.sleep(2.2)
    began = time.monotonic()
    os.kill(children[0], signal.SIGTERM)
    status, output = lab.wait(children)

    assert status == 128 + signal.SIGTERM
    assert time.monotonic() - began < 1
    assert "ended at once by a second signal, SIGTERM" in output
    lab.run("--run-dir=run", "--resume-from=latest")
    assert not list(checkpoints.glob(".tmp-*"))
    straight.must_equal(lab, "run")


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_a_file_stop_saves_and_stops_once(lab, straight, processes):
    children = lab.begin("--run-dir=run", processes=processes, failpoint="update.8=sleep:2")
    wait_for_update(lab, "run", 7)  # nothing is measured or saved between 7 and 8, where it would stop, too
    (lab.folder / "run" / "control" / "stop").touch()
    status, output = lab.wait(children)

    assert status == 75, output
    assert "stopped by control/stop after update 8" in output
    lab.run("--run-dir=run", "--resume-from=latest", processes=processes)
    straight.must_equal(lab, "run", processes=processes)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_a_file_checkpoint_saves_a_resumable_state_and_is_removed(lab, straight, processes):
    children = lab.begin("--run-dir=run", processes=processes, failpoint="update.7=sleep:1")
    wait_for_update(lab, "run", 6)
    wish = lab.folder / "run" / "control" / "checkpoint"
    wish.touch()
    status, output = lab.wait(children)

    assert status == 0, output
    assert not wish.exists()
    assert [event["resumable"] for event in events(lab, "run", "checkpoint") if event["update"] == 7] == [
        True
    ]
    assert (lab.folder / "run" / "checkpoints" / "checkpoint-7" / "model.safetensors").exists()
    straight.must_equal(lab, "run", processes=processes)


def test_a_run_stops_by_itself_before_its_time_is_up(lab, straight):
    status, output = lab.ends("--run-dir=run", "training.max_time=2s", failpoint="update.7=sleep:2.2")

    assert status == 75, output
    assert re.search("stopped by max_time after update [1-7]; the state is saved", output)
    lab.run("--run-dir=run", "--resume-from=latest")
    straight.must_equal(lab, "run")


def held_at(lab: Lab, update: int) -> None:
    """Let updates from ``update`` on take a second each, so that signals find the run there."""
    names = ",".join(f"update.{number}=sleep:1" for number in range(update, 25))
    lab.environment["MODEL_FOUNDRY_FAILPOINT"] = names


def launch(lab: Lab, launcher: list[str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *launcher,
            "-m",
            "model_foundry.train",
            "recipe.yaml",
            "--run-dir=run",
            *arguments,
        ],
        cwd=lab.folder,
        env={**os.environ, **QUIET, **lab.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


TORCHRUN = ["torch.distributed.run", "--standalone"]
LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--config_file", str(CPU)],
    "torchrun-1": [*TORCHRUN, "--nproc-per-node=1"],
    "torchrun-2": [*TORCHRUN, "--nproc-per-node=2"],
}


def stopped_under_a_launcher(
    lab: Lab, straight: Straight, launched: list[subprocess.Popen[str]], name: str, number: int, whom: str
) -> None:
    # Between update 7 and 8 nothing is measured or saved, so a signal is read after update 8 at the soonest.
    held_at(lab, 8)
    launcher = launch(lab, LAUNCHERS[name])
    launched.append(launcher)
    wait_for_update(lab, "run", 7)
    family = [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True)]
    worker = int(str(lab.status("run")["pid"]))

    if whom == "group":
        os.killpg(launcher.pid, number)
    else:
        os.kill(launcher.pid if whom == "launcher" else worker, number)
    wait_until(lambda: lab.status("run")["state"] != "running")
    launcher.communicate(timeout=20)

    must_be_gone(family)
    found = lab.status("run")
    assert (found["state"], found["exit_code"]) == ("preempted", 75), found
    assert 8 <= int(str(found["update"])) < 24
    assert found["last_good_checkpoint"] == f"checkpoint-{found['update']}"
    del lab.environment["MODEL_FOUNDRY_FAILPOINT"]
    processes = 2 if name == "torchrun-2" else 1
    lab.run("--run-dir=run", "--resume-from=latest", processes=processes)
    straight.must_equal(lab, "run", processes=processes)


LAUNCHED_QUICK = [("accelerate", signal.SIGKILL, "launcher"), ("torchrun-2", signal.SIGTERM, "group")]
LAUNCHED_ALL = [
    *itertools.product(
        LAUNCHERS, (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), ("launcher", "worker", "group")
    ),
    *((name, signal.SIGKILL, "launcher") for name in LAUNCHERS),
]


@pytest.mark.parametrize(("name", "number", "whom"), LAUNCHED_QUICK)
def test_whoever_is_signalled_or_killed_the_run_is_saved_and_no_process_stays(
    lab, straight, launched, name, number, whom
):
    stopped_under_a_launcher(lab, straight, launched, name, number, whom)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "number", "whom"), [case for case in LAUNCHED_ALL if case not in LAUNCHED_QUICK]
)
def test_so_it_is_under_every_launcher(lab, straight, launched, name, number, whom):
    stopped_under_a_launcher(lab, straight, launched, name, number, whom)


def test_workers_of_the_loader_outlast_the_signal_and_end_with_their_process(lab, straight):
    arguments = ["--run-dir=run", "data.workers=2"]
    children = lab.begin(*arguments, failpoint="update.7=sleep:1")
    wait_for_update(lab, "run", 6)
    workers = psutil.Process(children[0]).children()
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            worker.send_signal(number)
    os.kill(children[0], signal.SIGTERM)
    status, output = lab.wait(children)

    assert status == 75, output
    must_be_gone(workers)
    lab.run(*arguments, "--resume-from=latest")
    straight.must_equal(lab, "run")


def test_workers_of_the_loader_end_when_their_process_is_killed(lab):
    children = lab.begin("--run-dir=run", "data.workers=2", failpoint="update.7=sleep:60")
    wait_for_update(lab, "run", 6)
    workers = psutil.Process(children[0]).children()
    assert len(workers) == 2
    os.kill(children[0], signal.SIGKILL)
    lab.wait(children)

    must_be_gone(workers)


@pytest.mark.nightly
def test_a_run_without_a_launcher_outlives_the_shell_that_started_it(lab):
    command = f"{sys.executable} -m model_foundry.train recipe.yaml --run-dir=run > /dev/null 2>&1 &"
    subprocess.run(["sh", "-c", command], cwd=lab.folder, env={**os.environ, **QUIET}, check=True)

    wait_until(
        lambda: (lab.folder / "run" / "status.json").exists() and lab.status("run")["state"] == "finished"
    )
