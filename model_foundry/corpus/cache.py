"""Folders that are named by what they were made from, built once, and visible only when they are complete."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from model_foundry.corpus.holding import hold
from model_foundry.errors import DataError, Preempted, ResourceError

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"

_log = logging.getLogger(__name__)
Opened = TypeVar("Opened")


def default_cache_folder() -> Path:
    """Return ``MODEL_FOUNDRY_CACHE``, else ``model_foundry`` in the user's cache folder."""
    given = os.environ.get("MODEL_FOUNDRY_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "model_foundry"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "model_foundry"


def canonical_json(value: object) -> str:
    """Return the one spelling of a value that hashes are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write a file of JSON so that a reader sees the old or the new content, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with aside.open("w", encoding="ascii") as file:
        json.dump(value, file, indent=1, sort_keys=True, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest of a folder: the content, size and SHA-256 of every file, a digest of it all."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": sha256}
    manifest = {**content, "files": files}
    write_json(folder / MANIFEST, {**manifest, "digest": digest_of(manifest)})


def read_manifest(folder: Path, *, verify: bool) -> dict[str, Any]:
    """Return the manifest of a folder whose files are as it says.

    Args:
        folder: Was written by ``write_manifest``.
        verify: Read every file and compare its hash, too; sizes are always compared.

    Raises:
        DataError: Naming the first file that is missing or differs.
    """
    path = folder / MANIFEST
    repair = "Remove the folder; it is then prepared again."
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
        digest = manifest["digest"]
        files = dict(manifest["files"])
        is_whole = digest == digest_of({key: value for key, value in manifest.items() if key != "digest"})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a manifest: {error!r}. {repair}") from error
    if not is_whole:
        raise DataError(f"{path}: was changed: its content does not have the digest that it states. {repair}")
    for name, expected in files.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != expected["size"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise DataError(f"{file}: {found}, expected {expected['size']} bytes. {repair}")
        if verify and _sha256(file) != expected["sha256"]:
            raise DataError(f"{file}: its content is not what was prepared (SHA-256 differs). {repair}")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def get_or_build(
    folder: Path,
    key: str,
    open_entry: Callable[[Path], Opened],
    build: Callable[[Path], None],
    *,
    goes_on: bool = False,
) -> Opened:
    """Return the opened entry of a key, which is built first where there is none that holds.

    Two processes that ask at once build it once. A process that is killed leaves nothing that looks like an
    entry; what it left is removed by the next one that builds here, or given to the next that builds this.

    Args:
        folder: Where entries of this kind lie.
        key: Name of the entry, of everything that its content depends on.
        open_entry: Reads an entry and raises DataError when it does not hold.
        build: Fills an empty folder, the manifest last.
        goes_on: Leave the folder of a build that is killed or interrupted, and give it to ``build`` again.

    Raises:
        ResourceError: When the cache cannot be written.
    """
    entry = folder / key
    if entry.is_dir():
        hold(entry)
        with contextlib.suppress(DataError):  # said below, by whoever holds the lock
            return open_entry(entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{key}.lock"):
            if entry.is_dir():
                hold(entry)
                try:
                    return open_entry(entry)
                except DataError as error:
                    _log.warning("A cache entry does not hold and is built again: %s", error)
                    _move_aside(entry)
            _sweep(folder, key)
            partial = folder / (f".{key}{UNFINISHED}" if goes_on else f".{key}.{os.getpid()}.partial")
            _build_aside(partial, entry, build, goes_on=goes_on)
            hold(entry)
    except OSError as error:
        raise ResourceError(
            f"{folder}: the cache cannot be written: {error.strerror or error}. Make room or set the "
            "environment variable MODEL_FOUNDRY_CACHE to a folder that can be written."
        ) from error
    return open_entry(entry)


def _build_aside(partial: Path, entry: Path, build: Callable[[Path], None], *, goes_on: bool) -> None:
    partial.mkdir(exist_ok=goes_on)
    keep = False
    try:
        try:
            build(partial)
        except BaseException as error:
            # Interrupted, nothing is wrong with what is there; after any other error there may be.
            keep = goes_on and (isinstance(error, Preempted) or not isinstance(error, Exception))
            raise
        for folder in [*(path for path in partial.rglob("*") if path.is_dir()), partial]:
            _sync_folder(folder)
        partial.rename(entry)
        _sync_folder(entry.parent)
    finally:
        if not keep:
            shutil.rmtree(partial, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _move_aside(entry: Path) -> None:
    number = 1
    while (aside := entry.with_name(f"{entry.name}.damaged-{number}")).exists():
        number += 1
    entry.rename(aside)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of one key; the system releases it when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("Another process is preparing the same data; waiting for it (%s)", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(folder: Path, key: str) -> None:
    """Remove what killed builders left: of this key, whose lock we hold, and of others that nobody holds."""
    for partial in folder.glob(".*.partial"):
        other = partial.name.split(".")[1]
        if other == key:
            shutil.rmtree(partial, ignore_errors=True)
            continue
        with (folder / f"{other}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(partial, ignore_errors=True)
