from __future__ import annotations

import ctypes
import errno
import os
import threading
from types import SimpleNamespace

import pytest

from model_foundry.manifest import MANIFEST_NAME
from model_foundry.run_directory import boot_id
from model_foundry.training import publishing
from model_foundry.training.checkpoint_files import verify_checkpoint
from model_foundry.training.publishing import clean_up, delete, rename_without_replacing
from tests.faults.rig import RUN_ID, Rig


def without_the_call(*arguments):
    return SimpleNamespace()


def refusing(number):
    """A C library whose file system refuses ``renameat2``."""

    def refuse(*arguments):
        ctypes.set_errno(number)
        return -1

    return lambda *arguments, **options: SimpleNamespace(renameat2=refuse)


@pytest.fixture
def folders(tmp_path):
    for name in ("old", "taken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "library",
    [None, lambda *a, **o: without_the_call(), refusing(errno.EINVAL), refusing(errno.ENOSYS)],
    ids=["as here", "no such call", "not on this file system", "not in this kernel"],
)
def test_a_name_is_given_but_never_taken_from_another(folders, monkeypatch, library):
    if library is not None:
        monkeypatch.setattr(publishing.ctypes, "CDLL", library)

    with pytest.raises(FileExistsError):
        rename_without_replacing(folders / "old", folders / "taken")
    rename_without_replacing(folders / "old", folders / "new")

    assert (folders / "new" / "file").read_text() == "old"
    assert (folders / "taken" / "file").read_text() == "taken"
    assert not (folders / "old").exists()


def test_any_other_refusal_of_the_system_is_told(folders, monkeypatch):
    monkeypatch.setattr(publishing.ctypes, "CDLL", refusing(errno.EROFS))

    with pytest.raises(OSError, match="Read-only file system"):
        rename_without_replacing(folders / "old", folders / "new")

    assert (folders / "old").is_dir()


def test_a_folder_that_was_in_the_way_and_cannot_be_read_is_kept(tmp_path):
    rig = Rig(tmp_path / "run")
    rig.update()
    rig.save()
    (rig.folder / "checkpoint-1" / MANIFEST_NAME).write_text("{")
    again = Rig(tmp_path / "run")
    again.update()

    again.save()

    (aside,) = rig.folder.glob("aside-checkpoint-1-*")
    assert (aside / MANIFEST_NAME).read_text() == "{"
    verify_checkpoint(rig.folder / "checkpoint-1")


def test_small_files_and_links_that_a_dead_process_left_go_and_what_they_point_to_stays(tmp_path):
    dead = os.fork() or os._exit(0)
    os.waitpid(dead, 0)
    owner = f"{dead}-{boot_id()[:8]}-0123abcd"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "checkpoints" / f".tmp-file-{owner}").write_text("half")
    (tmp_path / "checkpoints" / f".trash-checkpoint-3-{owner}").symlink_to(tmp_path / "precious")

    clean_up(tmp_path / "checkpoints", RUN_ID)

    assert not list((tmp_path / "checkpoints").iterdir())
    assert (tmp_path / "precious").is_dir()


def test_a_large_checkpoint_is_removed_although_no_thread_can_be_had(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "large").write_bytes(b"")
    os.truncate(folder / "large", 20 * 2**20)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert delete(folder) is None
    assert not list(tmp_path.iterdir())
