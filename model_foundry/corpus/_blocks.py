"""The bytes of files: plain, gz, zst, bz2, xz or zip, never held in memory as a whole.

The ending of the name decides how a file is read, and its first bytes must agree. A zip holds members, which
are read in the order of their names; every other file is the only member of itself.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model_foundry.corpus._decompress import BLOCK_BYTES, MAGIC, Damaged, decompressed, kind_of_data
from model_foundry.errors import DataError

_FREE_EXPANSION_BYTES = 16 << 20
_MAX_EXPANSION = 200
_MAX_BYTES = 256 << 30
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python's zip reads the others without a bound


@dataclass(frozen=True)
class Member:
    """A file, or one of those in a zip."""

    where: str
    """What messages call it."""

    blocks: Iterator[bytes]


@dataclass
class Cap:
    """Counts what a file grows to, and ends it when that is absurd.

    Args:
        path: The file.
    """

    path: Path
    size: int = 0

    def add(self, size: int, compressed: int) -> None:
        """Count bytes of text.

        Args:
            size: Of the text that was read now.
            compressed: Bytes of the file that were read for all of it.

        Raises:
            DataError: When it is over 256 GiB, or over 16 MiB and 200 times as much as was read for it.
        """
        self.size += size
        if self.size > _FREE_EXPANSION_BYTES + _MAX_EXPANSION * compressed:
            raise DataError(
                f"{self.path}: grows to more than {_MAX_EXPANSION} times its size when decompressed "
                f"({self.size} bytes from {compressed}), expected text. Decompress it first if it is meant "
                "to."
            )
        if self.size > _MAX_BYTES:
            raise DataError(
                f"{self.path}: grows to more than {_MAX_BYTES} bytes when decompressed, expected less in "
                "one file. Decompress it first, or divide it."
            )


def check_is_regular(path: Path) -> os.stat_result:
    """Return the state of a file that can be read to its end.

    Raises:
        DataError: When it is missing, a folder, a pipe or a device.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}. Correct the path or the permissions."
        ) from error
    if stat.S_ISDIR(state.st_mode):
        raise DataError(f"{path}: is a folder, expected a file. Name its files, such as {path.name}/*.txt.")
    if not stat.S_ISREG(state.st_mode):
        raise DataError(
            f"{path}: is a pipe, socket or device, expected a regular file: text is read more than once. "
            "Save it to a file first."
        )
    return state


def is_compressed(path: Path) -> bool:
    """Return whether a file's name says that it is compressed."""
    return path.suffix.lower() in MAGIC


def read_members(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """Yield the members of a file; each must be read before the next one is asked for.

    Args:
        path: The file.
        start: First byte to read; other than 0 only in a file that is not compressed.
        stop: Byte to end before.

    Raises:
        DataError: When the file cannot be read, is not what its name says, or grows absurdly.
    """
    if path.suffix.lower() == ".zip":
        yield from _zip_members(path)
    else:
        yield Member(str(path), _read_blocks(path, start, stop))


def _read_blocks(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    check_is_regular(path)
    kind = path.suffix.lower()
    cap = Cap(path)
    try:
        with path.open("rb") as file:
            _check_first_bytes(path, kind, file)
            try:
                if kind in MAGIC:
                    for block in decompressed(kind, file):
                        cap.add(len(block), file.tell())
                        yield block
                else:
                    yield from _plain(file, start, stop)
            except EOFError as error:
                raise DataError(
                    f"{path}: ends too early, at byte {file.tell()} (after {cap.size} bytes of text), "
                    "expected the end of its compressed data. Copy or compress it again."
                ) from error
            except Damaged as error:
                raise _damaged(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _plain(file: BinaryIO, start: int, stop: int | None) -> Iterator[bytes]:
    file.seek(start)
    left = os.fstat(file.fileno()).st_size if stop is None else stop - start
    while block := file.read(BLOCK_BYTES if stop is None else min(BLOCK_BYTES, left)):
        yield block
        left -= len(block)


def _check_first_bytes(path: Path, kind: str, file: BinaryIO) -> None:
    start = file.read(10)
    file.seek(0)
    if kind in MAGIC and not start.startswith(MAGIC[kind]):
        raise DataError(
            f"{path}: begins with {start[:4].hex(' ') or 'nothing'}, expected {kind[1:]} data as its "
            "name says. Rename it to what it is."
        )
    found = kind_of_data(start)
    if found and kind != found:
        raise DataError(
            f"{path}: holds {found[1:]} data, expected plain text. Rename it to {path.name}{found}."
        )


def _damaged(where: object, error: Exception) -> DataError:
    return DataError(f"{where}: is damaged: {error}. Copy or compress it again.")


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
    return DataError(f"{path}: cannot be read: {reason}. Correct the path or the permissions.")


def _zip_members(path: Path) -> Iterator[Member]:
    state = check_is_regular(path)
    cap = Cap(path)
    try:
        with path.open("rb") as file:
            _check_first_bytes(path, ".zip", file)
            with zipfile.ZipFile(file) as archive:
                files = [info for info in archive.infolist() if not info.is_dir()]
                for info in sorted(files, key=lambda info: (info.filename, info.header_offset)):
                    where = f"{path}/{info.filename}"
                    yield Member(where, _member_blocks(archive, info, where, cap, state.st_size))
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _member_blocks(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, cap: Cap, compressed: int
) -> Iterator[bytes]:
    if info.flag_bits & 1 or info.compress_type not in _ZIP_METHODS:
        what = "encrypted" if info.flag_bits & 1 else f"compressed by method {info.compress_type}"
        raise DataError(f"{where}: is {what}, expected stored or deflated text. Unpack the zip.")
    try:
        with archive.open(info) as member:
            first = member.read(BLOCK_BYTES)
            if kind := kind_of_data(first[:10]):
                raise DataError(
                    f"{where}: holds {kind[1:]} data within a zip, expected text. Unpack the outer file."
                )
            block = first
            while block:
                cap.add(len(block), compressed)
                yield block
                block = member.read(BLOCK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _damaged(where, error) from error
