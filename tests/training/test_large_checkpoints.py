"""Checkpoints large enough to be hashed in chunks, flushed early and removed beside training."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from model_foundry.digests import CHUNK_BYTES
from model_foundry.errors import ResourceError
from model_foundry.training.checkpoint_files import find_checkpoint, published, verify_checkpoint
from model_foundry.training.remote import Remote
from tests.faults.rig import RUN_ID, Rig, litter

WIDTH = 512  # 13 MB of weights, 25 MB of moments


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path / "run", keep=1, width=WIDTH)
    rig.update()
    return rig


def chunked_sha256(path: Path) -> str:
    content = path.read_bytes()
    assert len(content) > CHUNK_BYTES
    chunks = range(0, len(content), CHUNK_BYTES)
    digests = [hashlib.sha256(content[at : at + CHUNK_BYTES]).digest() for at in chunks]
    return hashlib.sha256(b"".join(digests)).hexdigest()


def names(rig: Rig) -> list[str]:
    return [path.name for path in published(rig.folder)]


def helpers() -> list[str]:
    """Threads of saves that are left."""
    prefixes = ("hash", "flush", "checkpoint")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefixes)]


@pytest.mark.parametrize("background", [False, True])
def test_it_is_published_as_small_ones_are_and_takes_the_place_of_the_one_before_it(rig, background):
    rig.save()
    before = rig.digest()
    rig.update()
    rig.manager.save(rig.state, rig.model, resumable=True, milestone=False, record={}, background=background)
    expected = rig.digest()
    rig.manager.settle()

    assert names(rig) == ["checkpoint-2"]
    rig.manager.close()
    assert not litter(rig.folder)
    assert not helpers()
    newest = verify_checkpoint(rig.folder / "checkpoint-2")
    for name in ("model.safetensors", "state/optimizer.bin"):
        assert newest.manifest["files"][name]["sha256"] == chunked_sha256(newest.path / name)
    mode = (rig.folder / "checkpoint-2" / "model.safetensors").stat().st_mode & 0o777
    assert mode == rig.folder.stat().st_mode & 0o666, "whoever may look into the run may read the weights"
    other = Rig(rig.folder.parent, keep=1, width=WIDTH)
    assert other.resume() == 2
    assert other.digest() == expected != before


def test_the_state_of_a_milestone_is_removed_and_its_weights_stay(rig):
    rig.save(milestone=True)
    rig.update()
    rig.save()
    rig.manager.close()

    assert names(rig) == ["checkpoint-2", "checkpoint-1"]
    assert not (rig.folder / "checkpoint-1" / "state").exists()
    assert not verify_checkpoint(rig.folder / "checkpoint-1").is_resumable


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin"])
def test_a_flush_that_fails_in_its_thread_fails_the_save_and_leaves_nothing(rig, monkeypatch, name):
    rig.save()
    rig.update()
    flush = os.fsync

    def fail(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(name):
            assert threading.current_thread() is not threading.main_thread()
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(
        ResourceError, match=r"checkpoint-2 could not be saved: \[Errno 5\] Input/output error"
    ):
        rig.save()

    assert names(rig) == ["checkpoint-1"]
    assert not litter(rig.folder)
    assert not helpers()


def test_weights_that_change_after_they_were_hashed_are_never_published(rig, monkeypatch):
    from model_foundry.training import checkpointing

    complete = checkpointing.complete

    def complete_and_spoil(folder, *arguments):
        rig.manager._files.hashing.result("model.safetensors")
        with (folder / "model.safetensors").open("r+b") as file:
            file.seek(9_000_000)
            file.write(b"\xff")
        complete(folder, *arguments)

    monkeypatch.setattr(checkpointing, "complete", complete_and_spoil)

    with pytest.raises(ResourceError, match=r"model\.safetensors is damaged: its SHA-256 is not the one"):
        rig.save()
    assert names(rig) == []
    assert find_checkpoint(rig.folder, RUN_ID) is None


def test_it_is_copied_elsewhere_and_fetched_with_its_digests(rig, tmp_path):
    rig.save()
    remote = Remote(f"file://{tmp_path}/copies")
    (tmp_path / "other").mkdir()

    remote.put(rig.folder / "checkpoint-1")
    fetched = remote.fetch("checkpoint-1", tmp_path / "other", RUN_ID)

    assert fetched.manifest == verify_checkpoint(rig.folder / "checkpoint-1").manifest
    weights = tmp_path / "copies" / "checkpoint-1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    (tmp_path / "third").mkdir()
    with pytest.raises(Exception, match=r"model\.safetensors is damaged"):
        remote.fetch("checkpoint-1", tmp_path / "third", RUN_ID)
