"""A folder's list of its own files with sizes and SHA-256: what makes damage visible before anything is read.

``MANIFEST.json`` is written last, with its own digest as the last field. It finds damage, not tampering:
whoever can change a file can change the manifest beside it, so its digest is worth keeping elsewhere.

Format 2 says ``chunk_bytes``: ``sha256`` of a larger file is that of its chunks' SHA-256s (``digests``).
Format 1, which had the plain SHA-256 of every file, is read as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from model_foundry.digests import CHUNK_BYTES, WHOLE, Hashing

MANIFEST_NAME = "MANIFEST.json"
_LEAST_CHUNK, _LARGEST_CHUNK = 2**20, 2**30


class ManifestError(Exception):
    """The folder is not what its manifest says; the message names the file and the reason."""


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file so that readers, and a power cut, leave the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_path(path.parent)


def list_files(folder: Path) -> list[str]:
    """Return the relative names of all regular files below ``folder``, the manifest left out.

    Raises:
        ManifestError: When something else than a file or folder is there (link, FIFO, device).
    """
    names: list[str] = []
    for directory, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                names.append(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                raise ManifestError(f"{path.relative_to(folder)} is neither a file nor a folder")
    return sorted(name for name in names if name != MANIFEST_NAME)


def write_manifest(folder: Path, facts: Mapping[str, Any], hashing: Hashing | None = None) -> dict[str, Any]:
    """List ``folder``'s files, write the manifest last, and flush everything to the disk.

    Args:
        folder: A folder that nobody else writes to.
        facts: What the manifest shall say beside the files.
        hashing: Has begun with some of the files; the caller closes it.

    Returns:
        The manifest, with ``files`` and ``digest``.

    Raises:
        OSError: When the disk refuses.
    """
    if hashing is None:
        with Hashing(folder) as hashing:
            return write_manifest(folder, facts, hashing)
    names = list_files(folder)
    sizes = {name: (folder / name).stat().st_size for name in names}
    for name in sorted(names, key=lambda name: -sizes[name]):
        hashing.begin(name, flush=True)
    files = {}
    for name in names:
        hashing.flushed(name)
        files[name] = {"size": sizes[name], "sha256": hashing.result(name)}
    content = {**facts, "format": 2, "chunk_bytes": CHUNK_BYTES, "files": files}
    content["digest"] = json_sha256(content)
    path = folder / MANIFEST_NAME
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    for directory in sorted({path.parent, *((folder / name).parent for name in files)}, reverse=True):
        fsync_path(directory)
    return content


def read_manifest(folder: Path, name: str = MANIFEST_NAME) -> dict[str, Any]:
    """Return a manifest whose own digest holds.

    Raises:
        ManifestError: When it is missing, unreadable or changed.
    """
    path = folder / name
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ManifestError(f"{name} is not a file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{name} is missing: it was never completed") from None
    except OSError as error:
        raise ManifestError(f"{name} cannot be read ({type(error).__name__})") from error
    return parse_manifest(content, name)


def parse_manifest(text: bytes, name: str = MANIFEST_NAME) -> dict[str, Any]:
    """Return what a manifest says whose own digest holds.

    Raises:
        ManifestError: When it is unreadable or changed.
    """
    try:
        content = json.loads(text.decode("utf-8"))
        digest = content.pop("digest")
        holds = json_sha256(content) == digest
        files = {file: (int(facts["size"]), str(facts["sha256"])) for file, facts in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestError(f"{name} cannot be read ({type(error).__name__})") from error
    if not holds:
        raise ManifestError(f"{name} was changed after it was written")
    chunk_bytes_of(content)
    listed = {file: {"size": size, "sha256": sha256} for file, (size, sha256) in files.items()}
    return {**content, "files": listed, "digest": digest}


def chunk_bytes_of(manifest: Mapping[str, Any]) -> int:
    """Return the size of the chunks that a manifest's digests are made of.

    Raises:
        ManifestError: When it is of a format that this version does not know.
    """
    if manifest.get("format") == 1:
        return WHOLE
    size = manifest.get("chunk_bytes")
    if manifest.get("format") != 2 or type(size) is not int or not _LEAST_CHUNK <= size <= _LARGEST_CHUNK:
        raise ManifestError(
            f"its manifest is of format {manifest.get('format')} (chunk_bytes {size}), and this version of "
            "Model Foundry reads formats 1 and 2. Use the version that wrote it"
        )
    return size


def verify_manifest(folder: Path, *, optional: Iterable[str] = ()) -> dict[str, Any]:
    """Check every file of ``folder`` against its manifest, before any of them is parsed.

    Args:
        folder: A folder with a manifest.
        optional: Files that may lie there without being listed.

    Returns:
        The manifest.

    Raises:
        ManifestError: Naming the first file that is missing, extra, of another size or of other content.
    """
    manifest = read_manifest(folder)
    found = set(list_files(folder)) - set(optional)
    listed = manifest["files"]
    for name in sorted(found ^ set(listed)):
        raise ManifestError(
            f"{name} is not listed in the manifest"
            if name in found
            else f"{name} is listed in the manifest but missing"
        )
    for name, facts in listed.items():
        size = (folder / name).stat().st_size
        if size != facts["size"]:
            raise ManifestError(f"{name} has {size} bytes, and the manifest says {facts['size']}")
    with Hashing(folder, chunk_bytes_of(manifest)) as hashing:
        for name in sorted(listed, key=lambda name: -listed[name]["size"]):
            hashing.begin(name)
        for name, facts in listed.items():
            if hashing.result(name) != facts["sha256"]:
                raise ManifestError(f"{name} is damaged: its SHA-256 is not the one in the manifest")
    return manifest
