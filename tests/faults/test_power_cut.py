"""F3: whatever a power cut leaves of two saves, a checkpoint that holds is there, no older than promised."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.training.checkpoint_files import (
    Checkpoint,
    find_checkpoint,
    open_checkpoint,
    published,
    verify_checkpoint,
)
from model_foundry.training.publishing import clean_up
from tests.faults.disk_model import Recording
from tests.faults.rig import RUN_ID, Rig, fork, litter
from tests.faults.system_calls import can_strace, traced

SEED = 20261123
SUBSETS = 20

pytestmark = pytest.mark.skipif(not can_strace(), reason="strace is absent or may not attach to processes")


def on_an_old_branch(run: Path) -> Rig:
    """A run that goes on from checkpoint-3 though it has 4 and 5."""
    rig = Rig(run, keep=1)
    rig.load(open_checkpoint(run / "checkpoints" / "checkpoint-3"))
    return rig


def never_stopped(run: Path) -> Rig:
    """A run after its third save, which keeps the newest state alone."""
    shutil.rmtree(run)
    rig = Rig(run, keep=1)
    for update in range(1, 4):
        rig.update()
        rig.save(milestone=update == 1)
    return rig


@pytest.fixture
def recording(request: pytest.FixtureRequest, a_run: Path, memory: Path, tmp_path: Path) -> Recording:
    """What saves 4 and 5 did to the disk, as strace saw it."""
    run = shutil.copytree(a_run, memory / "run")

    def two_saves(ready: Callable[[], None], say: Callable[[Any], None]) -> None:
        rig = request.param(run)
        rig.update()
        ready()
        rig.save()
        say("saved 4")
        rig.update()
        rig.save()
        say("saved 5")

    child = fork(two_saves)
    child.read_until("ready")
    recorded = Recording(run / "checkpoints")
    with traced(child, tmp_path / "log", "-xx", "-s", "10000000"):
        child.start()
        assert child.wait()[-1] == "saved 5"
    recorded.read(tmp_path / "log")
    now = {
        path.relative_to(run / "checkpoints").as_posix(): None if path.is_dir() else path.read_bytes()
        for path in (run / "checkpoints").rglob("*")
    }
    assert recorded.tree(range(len(recorded.operations))).contents() == now, "the log does not tell all"
    return recorded


@pytest.mark.parametrize("recording", [on_an_old_branch, never_stopped], indirect=True)
def test_a_verified_checkpoint_is_left_by_every_power_cut(recording, a_run, memory):
    draw = random.Random(SEED)
    saved_at = {
        text.split()[1].strip(b'"\n'): at for at, text in recording.said if text.startswith(b'"saved')
    }
    known: dict[tuple[tuple[str, bytes | None], ...], int] = {}
    states, found_at = 0, []

    for count, flushes in recording.moments:
        unflushed = recording.unflushed(count, flushes)
        flushed = sorted(set(range(count)) - set(unflushed))
        choices = [unflushed, [], *([n for n in unflushed if draw.random() < 0.5] for _ in range(SUBSETS))]
        promised = max([3, *(int(name) for name, at in saved_at.items() if at <= count)])
        for chosen in choices:
            contents = recording.tree(sorted([*flushed, *chosen])).contents()
            key = tuple(contents.items())
            if key not in known:
                known[key] = _recovered(contents, memory / "cut", _weights(a_run))
            states += 1
            found_at.append(known[key])
            assert known[key] >= promised, f"after {count} operations: {known[key]}, promised {promised}"

    assert set(saved_at) == {b"4", b"5"}
    assert states > 1700
    assert {4, 5} <= set(found_at)
    print(f"F3: {states}/{states} states ({len(known)} different) leave a verified checkpoint; seed {SEED}")


@pytest.mark.parametrize("recording", [on_an_old_branch], indirect=True)
def test_the_model_notices_a_missing_flush(recording, a_run, memory):
    """Were the files not flushed, what was acknowledged would be lost: the model is a strict one."""
    recording.flushes = [(at, inode) for at, inode in recording.flushes if recording.is_folder(inode)]
    last = len(recording.operations)
    flushed = sorted(set(range(last)) - set(recording.unflushed(last, len(recording.flushes))))

    contents = recording.tree(flushed).contents()

    assert _recovered(contents, memory / "cut", _weights(a_run), is_whole=False) == 3


def _weights(run: Path) -> dict[int, bytes]:
    folder = run / "checkpoints"
    return {
        number: (folder / f"checkpoint-{number}" / "model.safetensors").read_bytes() for number in range(1, 6)
    }


def _recovered(
    contents: dict[str, bytes | None], folder: Path, weights: dict[int, bytes], *, is_whole: bool = True
) -> int:
    """Write what was left into a folder and let a new start look for a checkpoint there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in contents.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
    found = find_checkpoint(folder, RUN_ID)
    assert isinstance(found, Checkpoint)
    if is_whole:
        for path in published(folder):
            verify_checkpoint(path)  # whatever is called a checkpoint is one
        assert (folder / "checkpoint-1").is_dir(), "a milestone is always there"
    assert (found.path / "model.safetensors").read_bytes() == weights[found.updates]
    clean_up(folder, RUN_ID)
    assert not litter(folder)
    again = find_checkpoint(folder, RUN_ID)
    assert again is not None
    assert again.path == found.path
    return found.updates
