"""Checkpoint folders: published when complete, never replaced, deleted so that no half of one counts.

    checkpoint-<updates>/                 a published checkpoint: its manifest holds
    .tmp-checkpoint-<updates>-<owner>/    being written
    .trash-checkpoint-<updates>-<owner>/  being deleted
    aside-checkpoint-<updates>-*/         its name was needed, or the run went on from before it; kept
    LATEST                                the newest one's name: a hint for people, trusted by nothing

``<owner>`` is pid and boot of the writer, so that what a killed process left behind is told from a live one's
work. A folder's numbers, never its dates, say which is newer.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import shutil
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from model_foundry.digests import Hashing
from model_foundry.failpoints import reach
from model_foundry.manifest import (
    MANIFEST_NAME,
    ManifestError,
    canonical_json,
    fsync_path,
    json_sha256,
    list_files,
    read_manifest,
    write_manifest,
)
from model_foundry.run_directory import boot_id, now
from model_foundry.training.checkpoint_files import (
    STATE_FOLDER,
    Checkpoint,
    checkpoint_name,
    published,
    read_checkpoint_manifest,
    require_expected_files,
    verify_checkpoint,
    weights_in,
)

log = logging.getLogger(__name__)

_OWNED = re.compile(
    r"\.(?:tmp|trash)-(?:(?:aside-)?checkpoint-\d+(?:-[0-9a-f]{8})?|file)-(\d+)-([0-9a-f]{8}|unknown)-[0-9a-f]{8}"
)
_LARGE_BYTES = 16 * 2**20  # below that a thread costs more than it saves
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


def new_temporary(folder: Path, updates: int) -> Path:
    """Make the folder into which a checkpoint is written; nobody else may look into it yet."""
    path = folder / f".tmp-{checkpoint_name(updates)}-{_owner()}"
    path.mkdir(mode=0o700)
    return path


def publish(
    temporary: Path, updates: int, facts: dict[str, Any], hashing: Hashing | None = None
) -> Checkpoint:
    """List, flush, rename and verify a complete checkpoint; only when this returns does it exist.

    Args:
        temporary: The folder with all files written.
        updates: Its number.
        facts: What the manifest shall say beside the files; ``dropped`` names the groups that it does not
            hold, ``world_size`` the processes whose random state it does.
        hashing: Has begun with some of the files.

    Raises:
        OSError: When the disk refuses; the temporary folder is then the caller's to discard.
        ManifestError: When files are missing or too many, or what was written does not read back.
    """
    folder = temporary.parent
    target = folder / checkpoint_name(updates)
    is_resumable = STATE_FOLDER not in facts["dropped"]
    require_expected_files(list_files(temporary), world_size=facts["world_size"], is_resumable=is_resumable)
    reach("publish.manifest")
    temporary.chmod(folder.stat().st_mode & 0o777)
    write_manifest(temporary, {**facts, "updates": updates, "created_utc": now()}, hashing)
    reach("publish.rename")
    aside = set_aside(target) if os.path.lexists(target) else None
    rename_without_replacing(temporary, target)
    try:
        reach("publish.renamed")
        fsync_path(folder)
        checkpoint = verify_checkpoint(target)
    except (OSError, ManifestError):
        _withdraw(target)
        raise
    if aside is not None and _holds_nothing_else(aside, checkpoint):
        with suppress(OSError):  # it only takes room
            delete(aside)
    return checkpoint


def rename_without_replacing(old: Path, new: Path) -> None:
    """Give a folder its name; never at the cost of what has that name already.

    Raises:
        OSError: When the name is taken.
    """
    with suppress(AttributeError):  # no renameat2: another system, or a C library from before 2018
        library = ctypes.CDLL(None, use_errno=True)
        paths = (_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new))
        if library.renameat2(*paths, _RENAME_NOREPLACE) == 0:
            return
        if (number := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL):  # a file system without it
            raise OSError(number, os.strerror(number), str(new))
    if os.path.lexists(new):  # the run's lock keeps others from taking it in between
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
    old.rename(new)


def set_aside(path: Path) -> Path:
    """Take its name from a checkpoint, and nothing else; returns where it is now."""
    aside = path.with_name(f"aside-{path.name}-{uuid.uuid4().hex[:8]}")
    rename_without_replacing(path, aside)
    log.warning("%s was there already and was moved aside to %s", path.name, aside.name)
    return aside


def drop_state(checkpoint: Checkpoint) -> threading.Thread | None:
    """Turn a resumable checkpoint into one of weights alone; interrupted anywhere, it stays valid.

    Returns:
        The thread that removes the state still, where it is large.
    """
    prefix = f"{STATE_FOLDER}/"
    kept = {
        name: facts for name, facts in checkpoint.manifest["files"].items() if not name.startswith(prefix)
    }
    content = {key: value for key, value in checkpoint.manifest.items() if key != "digest"}
    content |= {"files": kept, "dropped": [STATE_FOLDER]}
    content["digest"] = json_sha256(content)
    replace_file(checkpoint.path / MANIFEST_NAME, canonical_json(content), through=checkpoint.path.parent)
    return _remove(checkpoint.path / STATE_FOLDER)


def replace_file(path: Path, content: bytes, *, through: Path) -> None:
    """Replace a small file durably, writing it first in another folder, where a half of it harms nobody."""
    temporary = through / f".tmp-file-{_owner()}"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def delete(path: Path) -> threading.Thread | None:
    """Delete a checkpoint; after the rename it no longer exists, whatever happens to the rest.

    Returns:
        The thread that removes its files still, where they are large.
    """
    trash = path.with_name(f".trash-{path.name}-{_owner()}")
    rename_without_replacing(path, trash)
    fsync_path(path.parent)
    return _remove(trash)


def clean_up(folder: Path, run_id: str) -> None:
    """Remove what killed processes left half-written or half-deleted.

    A live process's work, other runs' checkpoints and files of unknown origin are not touched.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _OWNED.fullmatch(path.name)
        if match and not _is_alive(int(match.group(1)), match.group(2)):
            log.warning("removed %s, left by a process that ended while writing it", path.name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    for path in published(folder):
        with suppress(ManifestError, OSError):  # a damaged checkpoint is reported where it is verified
            manifest = read_checkpoint_manifest(path)
            if manifest.get("run_id") == run_id and manifest["dropped"]:
                shutil.rmtree(path / STATE_FOLDER, ignore_errors=True)


def _holds_nothing_else(aside: Path, checkpoint: Checkpoint) -> bool:
    """Whether a resumed run came to the same weights again, and has the rest of what was there too."""
    try:
        then, today = read_manifest(aside), checkpoint.manifest
    except ManifestError:
        return False
    is_same = weights_in(then["files"]) == weights_in(today["files"])
    is_same = is_same and then.get("run_id") == today.get("run_id")
    return is_same and set(then["files"]) <= set(today["files"])


def _remove(folder: Path) -> threading.Thread | None:
    """Remove what no longer counts; what is large is removed beside training."""
    with suppress(OSError, RuntimeError):  # what cannot be listed, or has no thread, goes as far as it can
        if sum(path.lstat().st_size for path in folder.rglob("*")) >= _LARGE_BYTES:
            options = {"ignore_errors": True}
            thread = threading.Thread(
                target=shutil.rmtree, args=(folder,), kwargs=options, name="checkpoint removal"
            )
            thread.start()
            return thread
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _withdraw(target: Path) -> None:
    """Take back a checkpoint that was renamed into place and could not be confirmed."""
    trash = target.with_name(f".trash-{target.name}-{_owner()}")
    try:
        rename_without_replacing(target, trash)
    except OSError as error:
        log.error("%s could not be withdrawn after a failed save: %s", target, error)
    shutil.rmtree(trash, ignore_errors=True)


def _owner() -> str:
    return f"{os.getpid()}-{boot_id()[:8]}-{uuid.uuid4().hex[:8]}"


def _is_alive(pid: int, boot: str) -> bool:
    if boot != boot_id()[:8]:
        return False
    if pid == os.getpid():
        return False  # the run's lock is ours, so an earlier save of this very process failed
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
