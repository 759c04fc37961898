from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.errors import RunDirectoryError
from model_foundry.run_directory import RunDirectory


def test_a_new_run_gets_its_folders_and_a_lock(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "one")

    run.open(resume=False)

    assert run.checkpoints.is_dir()
    assert run.logs.is_dir()
    assert json.loads((run / ".lock").read_text())["pid"] == os.getpid()
    run.close()


def test_an_existing_run_needs_a_resume(tmp_path):
    run = RunDirectory(tmp_path)
    run.open(resume=False)
    run.write_text("recipe.yaml", "name: x\n")
    run.close()

    with pytest.raises(
        RunDirectoryError, match=r"holds a run already\. Continue it with --resume-from latest"
    ):
        RunDirectory(tmp_path).open(resume=False)
    again = RunDirectory(tmp_path)
    again.open(resume=True)
    again.close()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")

    with pytest.raises(
        RunDirectoryError, match=r"exists and is not a run\. Name another folder with --run-dir"
    ):
        RunDirectory(tmp_path).open(resume=False)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_process_is_refused_by_name_until_the_first_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from model_foundry.run_directory import RunDirectory\n"
        "run = RunDirectory(Path(sys.argv[1])); run.open(resume=True); print('locked', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"

        with pytest.raises(RunDirectoryError, match=rf"is in use by process {holder.pid} on ") as caught:
            RunDirectory(tmp_path).open(resume=True)
        assert caught.value.reason == "run_locked"

        holder.kill()
        holder.wait()
        run = RunDirectory(tmp_path)
        run.open(resume=True)
        run.close()


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunDirectoryError, match=r"file is a file, and the run needs a folder"):
        RunDirectory(tmp_path / "file").open(resume=False)
    with pytest.raises(RunDirectoryError, match=r"cannot be used for the run: Not a directory"):
        RunDirectory(tmp_path / "file" / "below").open(resume=False)
    with pytest.raises(RunDirectoryError, match=r"cannot be used for the run: File name too long"):
        RunDirectory(tmp_path / ("x" * 300)).open(resume=False)


def test_the_status_keeps_what_is_not_replaced(tmp_path):
    run = RunDirectory(tmp_path)
    run.set_status("running", run_id="abc", update=3)
    run.set_status("finished", exit_code=0)

    status = json.loads((tmp_path / "status.json").read_text())

    assert (status["state"], status["run_id"], status["update"], status["exit_code"]) == (
        "finished",
        "abc",
        3,
        0,
    )
    assert run.run_id() == "abc"


def test_events_are_appended_a_line_each(tmp_path):
    run = RunDirectory(tmp_path)
    run.event("start")
    run.event("checkpoint", update=5)

    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]

    assert [line["event"] for line in lines] == ["start", "checkpoint"]
    assert lines[1]["update"] == 5


def begun(folder: Path, **status: object) -> RunDirectory:
    """A run that got as far as its records, and ended as ``status`` says."""
    run = RunDirectory(folder)
    run.open(resume=False)
    run.write_text("recipe.yaml", "name: x\n")
    run.write_text("plan.json", "{}\n")
    run.tokenizer.mkdir()
    (run.tokenizer / "tokenizer.json").write_text("{}")
    run.event("start")
    run.write_json("status.json", status)
    run.close()
    return run


@pytest.mark.parametrize("state", ["failed", "preempted"])
def test_a_run_that_ended_before_its_first_checkpoint_is_begun_anew(tmp_path, state):
    run = begun(tmp_path, state=state, run_id="abc", message="a.txt: no such file")

    earlier = run.open(resume=False)

    assert earlier == "a.txt: no such file"
    assert not (run / "plan.json").exists()
    assert not run.tokenizer.exists()
    assert '"start"' in (run / "events.jsonl").read_text()
    assert run.run_id() == "abc"
    run.close()


@pytest.mark.parametrize(
    "status",
    [
        {"state": "running"},  # killed: nobody knows how far it came
        {"state": "finished"},
        {"state": "diverged"},
        {"state": "failed", "last_good_checkpoint": "checkpoint-5"},
        {},
    ],
)
def test_no_other_run_is(tmp_path, status):
    run = begun(tmp_path, **status)

    with pytest.raises(RunDirectoryError, match="holds a run already"):
        run.open(resume=False)

    assert (run / "plan.json").exists()
    assert run.open(resume=True) is None  # the lock was given back
    run.close()


def test_nor_one_that_has_any_checkpoint_whatever_its_status_says(tmp_path):
    run = begun(tmp_path, state="failed")
    (run.checkpoints / "rejected-checkpoint-5-0a1b").mkdir()

    with pytest.raises(RunDirectoryError, match="holds a run already"):
        run.open(resume=False)


def test_a_folder_that_was_left_before_the_first_record_can_be_used(tmp_path):
    run = RunDirectory(tmp_path)
    run.open(resume=False)
    run.close()  # as the system does for a process that is killed
    (tmp_path / ".recipe.yaml.123.partial").write_text("na")
    (tmp_path / "logs" / "rank0.log").write_text("")

    assert run.open(resume=False) is None

    run.close()


def test_the_lock_of_a_killed_process_is_waited_for_until_its_children_have_ended(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from model_foundry.run_directory import RunDirectory\n"
        "run = RunDirectory(Path(sys.argv[1])); run.open(resume=True)\n"
        "if os.fork() == 0: time.sleep(1.0); os._exit(0)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)

    run = RunDirectory(tmp_path)
    run.open(resume=True)

    assert json.loads((run / ".lock").read_text())["pid"] == os.getpid()
    run.close()
