"""Copies of checkpoints elsewhere, through fsspec: their layout, and how one is put there and fetched.

    <address>/checkpoint-<updates>/     the files of the checkpoint; MANIFEST.json is written last

A folder without its manifest was never completed and does not count. Whatever lies there is untrusted until a
manifest that was read as data holds for every byte of it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from model_foundry.digests import ChunkedDigest
from model_foundry.errors import RecipeError
from model_foundry.manifest import (
    MANIFEST_NAME,
    ManifestError,
    chunk_bytes_of,
    fsync_path,
    parse_manifest,
    read_manifest,
    verify_manifest,
)
from model_foundry.training.checkpoint_files import (
    Checkpoint,
    require_expected_files,
    updates_of,
    verify_checkpoint,
)
from model_foundry.training.publishing import new_temporary, rename_without_replacing, set_aside

log = logging.getLogger(__name__)

_CHUNK = 1 << 22
_MOST_MANIFEST_BYTES = 64 * 2**20


class Remote:
    """A folder that fsspec reaches, with copies of one run's checkpoints.

    Args:
        address: Its address, such as ``s3://bucket/runs/demo``.

    Raises:
        RecipeError: When fsspec has no such file system, or its package is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            filesystem, path = url_to_fs(self.address)
        except (ImportError, ValueError, OSError) as error:
            raise RecipeError(
                f"checkpoints are to be copied to or from {address}, and fsspec cannot go there: {error}. "
                "Install the package that it names, or use another address."
            ) from error
        self._filesystem: fsspec.AbstractFileSystem = filesystem
        self._path: str = path.rstrip("/")

    def names(self) -> list[str]:
        """Return the names of complete copies, newest (most updates) first; nothing is verified."""
        self._filesystem.invalidate_cache()
        try:
            entries = self._filesystem.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        names = {PurePosixPath(str(entry)).name for entry in entries}
        numbered = {name: number for name in names if (number := updates_of(Path(name))) is not None}
        return [
            name
            for name in sorted(numbered, key=lambda name: numbered[name], reverse=True)
            if self._filesystem.exists(f"{self._path}/{name}/{MANIFEST_NAME}")
        ]

    def holds(self, name: str, digest: str) -> bool:
        """Return whether a complete copy with this manifest is there."""
        try:
            return bool(self._manifest(name).get("digest") == digest)
        except (OSError, ManifestError):
            return False

    def put(self, checkpoint: Path) -> None:
        """Copy a checkpoint there and read it back; a copy with the same manifest is left as it is.

        Raises:
            OSError: When the file system refuses, or what is there is not what was sent.
            ManifestError: When the checkpoint itself is not what it was.
        """
        manifest = read_manifest(checkpoint)
        name, filesystem = checkpoint.name, self._filesystem
        if self.holds(name, manifest["digest"]):
            return
        target = f"{self._path}/{name}"
        with suppress(FileNotFoundError):  # what another state left there is incomplete from here on
            filesystem.rm_file(f"{target}/{MANIFEST_NAME}")
        for file, facts in manifest["files"].items():
            filesystem.makedirs(str(PurePosixPath(target, file).parent), exist_ok=True)
            self._send(checkpoint / file, f"{target}/{file}")
            found = self._measure(f"{target}/{file}", facts["size"], chunk_bytes_of(manifest))
            if found != (facts["size"], facts["sha256"]):
                raise OSError(
                    f"{name}/{file} reads back as {found[0]} bytes that are not those that were sent"
                )
        self._send(checkpoint / MANIFEST_NAME, f"{target}/{MANIFEST_NAME}")
        filesystem.invalidate_cache()
        if not self.holds(name, manifest["digest"]):
            raise OSError(f"{name}/{MANIFEST_NAME} does not read back as it was sent")

    def fetch(self, name: str, folder: Path, run_id: str | None = None) -> Checkpoint:
        """Copy a resumable checkpoint into a run, where it counts only when every byte holds.

        Args:
            name: Its name, ``checkpoint-<updates>``.
            folder: The run's ``checkpoints`` folder.
            run_id: The run that it must belong to; any where not given.

        Raises:
            ManifestError: When it does not hold, is of another run, or holds weights alone.
            OSError: When it cannot be read, or not be written here.
        """
        manifest = self._manifest(name)
        if run_id is not None and manifest.get("run_id") != run_id:
            raise ManifestError(f"it is of run {manifest.get('run_id')}, and this is run {run_id}")
        if manifest.get("dropped") != []:
            raise ManifestError("it holds weights alone")
        world_size = manifest.get("world_size")
        if not isinstance(world_size, int):
            raise ManifestError("its manifest does not say how many processes wrote it")
        require_expected_files(manifest["files"], world_size=world_size, is_resumable=True)
        target = folder / name
        temporary = new_temporary(folder, updates_of(target) or 0)
        try:
            for file, facts in manifest["files"].items():
                (temporary / file).parent.mkdir(parents=True, exist_ok=True)
                self._receive(f"{self._path}/{name}/{file}", temporary / file, facts["size"])
            (temporary / MANIFEST_NAME).write_bytes(self._manifest_bytes(name))
            verify_manifest(temporary)
            folders = {(temporary / file).parent for file in manifest["files"]}
            for path in (temporary / MANIFEST_NAME, *sorted(folders, reverse=True)):
                fsync_path(path)
            temporary.chmod(folder.stat().st_mode & 0o777)
            if target.exists():
                set_aside(target)
            rename_without_replacing(temporary, target)
            fsync_path(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return verify_checkpoint(target)

    def _manifest_bytes(self, name: str) -> bytes:
        with self._filesystem.open(f"{self._path}/{name}/{MANIFEST_NAME}", "rb") as file:
            content: bytes = file.read(_MOST_MANIFEST_BYTES)
        return content

    def _manifest(self, name: str) -> dict[str, Any]:
        return parse_manifest(self._manifest_bytes(name))

    def _chunks(self, path: str, most: int) -> Iterator[bytes]:
        """Give a file's bytes; no more than one chunk beyond what it should have."""
        done = 0
        with self._filesystem.open(path, "rb") as file:
            while done <= most and (chunk := file.read(_CHUNK)):
                done += len(chunk)
                yield chunk

    def _send(self, source: Path, target: str) -> None:
        with source.open("rb") as file, self._filesystem.open(target, "wb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK)

    def _measure(self, path: str, size: int, chunk_bytes: int) -> tuple[int, str]:
        self._filesystem.invalidate_cache()
        digest, found = ChunkedDigest(chunk_bytes), 0
        for chunk in self._chunks(path, size):
            digest.update(chunk)
            found += len(chunk)
        return found, digest.hexdigest()

    def _receive(self, path: str, target: Path, size: int) -> None:
        with target.open("wb") as copy:
            for chunk in self._chunks(path, size):
                copy.write(chunk)
        fsync_path(target)
