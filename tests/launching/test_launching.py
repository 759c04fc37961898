"""Real launches on the CPU: what is asked for runs or is refused, and statuses survive the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_foundry.launching.placements import shipped_placements
from tests.lab import QUIET

pytestmark = [pytest.mark.e2e]

TRAIN = [sys.executable, "-m", "model_foundry.train", "recipe.yaml"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TWO = "--placement=cpu_2_processes"


def run(lab, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **QUIET, **environment}
    return subprocess.run(command, cwd=lab.folder, env=env, capture_output=True, text=True, timeout=240)


def test_a_placement_of_two_processes_trains_what_one_process_does(lab):
    lab.run("--run-dir=one", "model.dropout=0.0")

    done = run(lab, *TRAIN, "--run-dir=two", "model.dropout=0.0", TWO)

    assert done.returncode == 0, done.stderr
    assert "tiny · 2 x cpu" in done.stdout
    for alone, dealt in zip(lab.metrics("one"), lab.metrics("two"), strict=True):
        assert dealt == pytest.approx(alone, rel=1e-5)


def test_the_true_status_and_the_message_come_last_beneath_what_the_launcher_says(lab):
    done = run(lab, *TRAIN, TWO, "corpus.sources.0.path=nowhere/*.txt")

    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: path 'nowhere/*.txt': no file matches the pattern")


def test_a_signal_to_the_command_saves_and_ends_with_75(lab):
    child = subprocess.Popen(
        [*TRAIN, "--run-dir=run", "training.duration=5000 updates", "evaluation=[]", TWO],
        cwd=lab.folder,
        env={**os.environ, **QUIET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (lab.folder / "run" / "metrics.jsonl").exists() or len(lab.metrics("run")) < 3:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=120)

    assert child.returncode == 75, output
    assert output.strip().splitlines()[-1].startswith("error: stopped by control/stop after update ")
    assert lab.status("run")["state"] == "preempted"
    assert not (lab.folder / "run" / "control" / "stop").exists()


def test_processes_that_were_killed_are_started_again_and_go_on_from_the_newest_checkpoint(lab):
    lab.run("--run-dir=straight", processes=2)

    done = run(
        lab,
        *(*TRAIN, "--run-dir=run", TWO, "--max-restarts=2"),
        MODEL_FOUNDRY_FAILPOINT="update.13@1=kill",
    )

    assert done.returncode == 0, done.stderr
    assert lab.weights("run") == lab.weights("straight")
    assert lab.metrics("run") == lab.metrics("straight")


def test_a_run_that_another_launch_made_is_not_taken_up_by_a_restart(lab):
    lab.run("--run-dir=run")
    before = lab.weights("run")

    done = run(lab, *TRAIN, "--run-dir=run", TWO, "--max-restarts=1", "seed=99")

    assert done.returncode == 1
    assert "its first attempt never began this run, so it is left alone" in done.stderr
    assert lab.weights("run") == before


def test_what_would_only_fail_again_is_not_begun_again(lab):
    done = run(
        lab,
        *TRAIN,
        "--run-dir=run",
        TWO,
        "--max-restarts=1",
        "optimizer.learning_rate=1e30",
        "schedule.warmup=0",
    )

    assert done.returncode == 4, done.stderr
    assert "error: not started again, it would only be repeated: " in done.stderr
    assert lab.status("run")["state"] == "diverged"


REFUSALS = {
    "two processes of which accelerate starts one": (
        [*ACCELERATE, "--cpu", "--num_processes", "2", "-m", "model_foundry.train", "recipe.yaml"],
        "accelerate launch was asked for 2 processes and started one",
    ),
    "GPUs that are not here": (
        [*TRAIN, "--placement=single_gpu"],
        "the launcher's configuration asks for GPUs (use_cpu: false), and torch finds none",
    ),
    "FSDP that Accelerate turns into DDP": (
        [*TRAIN, "--placement=fsdp2", "--processes=2"],
        "asks for FSDP (fsdp_config), and Accelerate runs MULTI_CPU on cpu without a word",
    ),
    "a compiler of the launcher's": (
        [
            *(
                *ACCELERATE,
                "--config_file",
                str(shipped_placements()["cpu"].path),
                "--dynamo_backend",
                "eager",
            ),
            *("-m", "model_foundry.train", "recipe.yaml"),
        ],
        "the launcher's configuration compiles the model (dynamo backend eager)",
    ),
    "a launcher in a launcher": (
        [
            *(*ACCELERATE, "--config_file", str(shipped_placements()["cpu"].path)),
            *("-m", "model_foundry.train", "recipe.yaml", TWO),
        ],
        "--placement starts accelerate launch itself",
    ),
    "processes without a placement": (
        [*TRAIN, "--processes=2"],
        "--processes and --max-restarts are for --placement NAME",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_would_run_otherwise_than_asked_is_refused(lab, case):
    command, message = REFUSALS[case]

    done = run(lab, *command, **({"ACCELERATE_USE_CPU": "true"} if "FSDP" in case else {}))

    assert done.returncode != 0
    assert message in done.stderr
    assert not Path(lab.folder, "runs", "tiny", "checkpoints", "checkpoint-0").exists()


def test_a_request_to_stop_is_not_undone_by_a_restart(lab):
    done = run(lab, *TRAIN, "--run-dir=run", TWO, "--max-restarts=1", "training.max_time=1s")

    assert done.returncode == 75, done.stderr
    assert lab.status("run")["state"] == "preempted"
    assert lab.status("run")["asked_by"] == "max_time"
