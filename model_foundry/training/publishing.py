"""Checkpoint folders on disk: published only when complete, verified before use, pruned only after that.

    checkpoint-<updates>/                a published checkpoint: its manifest holds
    .tmp-checkpoint-<updates>-<owner>/   being written
    .trash-checkpoint-<updates>-<owner>/ being deleted
    rejected-checkpoint-<updates>-*/     a damaged one whose name was needed; kept for a look

``<owner>`` is pid and boot of the writer, so that what a killed process left behind is told from a live one's
work. A folder's numbers, never its dates, say which is newer.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.errors import ResourceError
from model_foundry.failpoints import reach
from model_foundry.manifest import (
    ManifestError,
    canonical_json,
    fsync_path,
    json_sha256,
    list_files,
    read_manifest,
    verify_manifest,
    write_atomically,
    write_manifest,
)
from model_foundry.run_directory import boot_id

log = logging.getLogger(__name__)

STATE_FOLDER = "state"
"""What only a resume needs: optimizer and random state."""

TRAINER_STATE = "trainer_state.json"
_NAME = re.compile(r"checkpoint-(\d{1,18})")
_OWNED = re.compile(r"\.(?:tmp|trash)-checkpoint-\d+-(\d+)-([0-9a-f]{8}|unknown)-[0-9a-f]{8}")


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint whose manifest was found to hold."""

    path: Path
    updates: int
    manifest: dict[str, Any]
    record: dict[str, Any]
    """``trainer_state.json``: clock, recipe, versions, topology."""

    @property
    def is_resumable(self) -> bool:
        """Whether it holds optimizer and random state."""
        return STATE_FOLDER not in self.manifest.get("dropped", [])


def checkpoint_name(updates: int) -> str:
    """Return the folder name of the state after ``updates`` updates."""
    return f"checkpoint-{updates}"


def published(folder: Path) -> list[Path]:
    """Return the folders named like checkpoints, newest (most updates) first; nothing is verified."""
    if not folder.is_dir():
        return []
    found = [
        (int(match.group(1)), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def verify_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint after checking every byte of it.

    Raises:
        ManifestError: Naming the file and the reason.
    """
    if path.is_symlink() or not path.is_dir():
        raise ManifestError("it is not a folder")
    manifest = read_manifest(path)
    dropped = manifest.get("dropped", [])
    leftovers = [name for name in list_files(path) if name.split("/")[0] in dropped]
    verify_manifest(path, optional=leftovers)
    match = _NAME.fullmatch(path.name)
    if match is None or manifest.get("updates") != int(match.group(1)):
        raise ManifestError(f"its manifest is that of update {manifest.get('updates')}")
    record = json.loads((path / TRAINER_STATE).read_text(encoding="utf-8"))
    return Checkpoint(path, manifest["updates"], manifest, record)


def new_temporary(folder: Path, updates: int) -> Path:
    """Make the folder into which a checkpoint is written."""
    path = folder / f".tmp-{checkpoint_name(updates)}-{_owner()}"
    path.mkdir(mode=0o700)
    return path


def publish(temporary: Path, updates: int, facts: dict[str, Any]) -> Checkpoint:
    """List, flush, rename and verify a complete checkpoint; only when this returns does it exist.

    Args:
        temporary: The folder with all files written.
        updates: Its number.
        facts: What the manifest shall say beside the files; ``dropped`` names the groups that it does not
        hold.

    Raises:
        OSError: When the disk refuses; the temporary folder is then the caller's to discard.
        ManifestError: When what was written does not read back.
    """
    folder = temporary.parent
    reach("publish.manifest")
    temporary.chmod(0o755)
    write_manifest(temporary, {**facts, "updates": updates})
    reach("publish.rename")
    target = folder / checkpoint_name(updates)
    if target.exists() or target.is_symlink():
        aside = folder / f"rejected-{target.name}-{uuid.uuid4().hex[:8]}"
        target.rename(aside)
        log.warning("%s existed already and was moved aside to %s", target.name, aside.name)
    temporary.rename(target)
    reach("publish.renamed")
    fsync_path(folder)
    return verify_checkpoint(target)


def drop_state(checkpoint: Checkpoint) -> None:
    """Turn a resumable checkpoint into one of weights alone; interrupted anywhere, it stays valid."""
    kept = {
        name: facts
        for name, facts in checkpoint.manifest["files"].items()
        if name.split("/")[0] != STATE_FOLDER
    }
    content = {key: value for key, value in checkpoint.manifest.items() if key != "digest"}
    content |= {"files": kept, "dropped": [STATE_FOLDER]}
    content["digest"] = json_sha256(content)
    write_atomically(checkpoint.path / "MANIFEST.json", canonical_json(content).decode())
    remove_leftovers(checkpoint.path)


def remove_leftovers(path: Path) -> None:
    """Finish a drop that was interrupted: remove what the manifest says is gone."""
    for name in read_manifest(path).get("dropped", []):
        shutil.rmtree(path / name, ignore_errors=True)


def delete(path: Path) -> None:
    """Delete a checkpoint; after the rename it no longer exists, whatever happens to the rest."""
    trash = path.with_name(f".trash-{path.name}-{_owner()}")
    path.rename(trash)
    fsync_path(path.parent)
    shutil.rmtree(trash, ignore_errors=True)


def clean_up(folder: Path) -> None:
    """Remove what killed processes left half-written or half-deleted.

    A live process's work is not touched.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _OWNED.fullmatch(path.name)
        if match and not _is_alive(int(match.group(1)), match.group(2)):
            log.warning("removed %s, left by a process that ended while writing it", path.name)
            shutil.rmtree(path, ignore_errors=True)
    for path in published(folder):
        try:
            remove_leftovers(path)
        except ManifestError:
            continue  # a damaged checkpoint is reported where it is verified


def require_space(folder: Path, needed_bytes: int, last_good: str | None) -> None:
    """Refuse to begin a save that cannot fit.

    Raises:
        ResourceError: With the path, the bytes needed and free, and the last good checkpoint.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ResourceError(
            f"{folder}: a checkpoint needs {needed_bytes:,} bytes and {free:,} are free. "
            f"Last good checkpoint: {last_good or 'none'}. Free some space, then use --resume-from latest."
        )


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
