from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.verification.scratch import scratch_folder


def test_the_folder_lies_beside_the_files_and_is_removed_whatever_happens(tmp_path: Path):
    def work() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "inside").write_text("x")
            assert folder.parent == tmp_path
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()

    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_systems_folder_serves(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")

    with scratch_folder(tmp_path / "file") as folder:
        assert folder.is_dir()
        assert tmp_path not in folder.parents

    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_and_a_living_ones_work_is_not(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (tmp_path / f".verify-{pid}").mkdir()

    with scratch_folder(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {
            f".verify-{os.getpid()}",
            f".verify-{os.getppid()}",
        }


def test_a_process_that_is_told_to_terminate_removes_it(tmp_path: Path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from model_foundry.verification.scratch import scratch_folder\n"
        f"with scratch_folder(Path({str(tmp_path)!r})):\n    print('ready', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
