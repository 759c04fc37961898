"""What the fault tests share: runs to be damaged, and disks for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.rig import Rig, result_of, trajectory

LONGEST = 8  # updates that the digests of ``unbroken`` reach to


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Digests after each update of a run that is never stopped."""
    digests: list[str] = result_of(
        lambda say: say(trajectory(tmp_path_factory.mktemp("unbroken") / "run", LONGEST))
    )
    return digests


@pytest.fixture(scope="session")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoint-1 (a milestone), 2, 3, 4 and 5, all resumable."""
    run = tmp_path_factory.mktemp("run") / "run"

    def make(say: Callable[[object], None]) -> None:
        rig = Rig(run, keep=9)
        for update in range(1, 6):
            rig.update()
            rig.save(milestone=update == 1)
        say("made")

    result_of(make)
    return run


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what a killed process wrote is there on any file system."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def run(a_run: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    return shutil.copytree(a_run, tmp_path / "run")


@pytest.fixture
def three(run: Path) -> Path:
    """A copy of that run as it was after its third save."""
    for update in (4, 5):
        shutil.rmtree(run / "checkpoints" / f"checkpoint-{update}")
    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A function that mounts a file system in memory, of a size or with mount options."""
    mounted = []

    def mount(options: str, name: str = "disk") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
