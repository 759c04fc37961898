"""Text files as streams: plain, gz or zst, decoded strictly as UTF-8, never held in memory as a whole.

What is done to text, all of it: a byte-order mark at the very start is removed. Nothing else is changed;
CRLF, NUL and every Unicode character stay. The ending of the name decides how a file is read, and its first
bytes must agree.
"""

from __future__ import annotations

import codecs
import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from model_foundry.errors import DataError

_BLOCK_BYTES = 1 << 20
_ZST_INPUT_BYTES = 2048
"""A zst block of 4 bytes can hold 128 KiB of text, so this much input gives at most 64 MiB at once."""

_FREE_EXPANSION_BYTES = 16 << 20
_MAX_EXPANSION = 200
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}


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


def read_text(path: Path, start: int = 0, stop: int | None = None) -> Iterator[str]:
    """Yield the text of a file in blocks of about a million characters, without a byte-order mark.

    Args:
        path: The file.
        start: Byte to begin at, the first of a character; other than 0 only in a file that is not compressed.
        stop: Byte to end before.

    Raises:
        DataError: When the file cannot be read, is not what its name says, or is not UTF-8 (with the byte
            offset in the decompressed text).
    """
    rest = b""
    offset = start  # of rest[0] in the decompressed file
    first = start == 0
    for block, is_last in _with_last_marked(_read_blocks(path, start, stop)):
        buffer = rest + block
        if first and buffer[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(
                f"{path}: byte 0: this is UTF-16, expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8."
            )
        try:
            text, used = codecs.utf_8_decode(buffer, "strict", is_last)
        except UnicodeDecodeError as error:
            position = offset + error.start
            raise DataError(
                f"{path}: byte {position}: {buffer[error.start : error.start + 4].hex(' ')} is not UTF-8 "
                f"({error.reason}), expected UTF-8 text. Convert the file, for instance with iconv, or "
                "remove it."
            ) from error
        offset += used
        rest = buffer[used:]
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text


def read_lines(path: Path, start: int = 0, stop: int | None = None) -> Iterator[str]:
    r"""Yield the lines of a file without their ``\n``; no other character ends a line."""
    unfinished: list[str] = []
    for text in read_text(path, start, stop):
        first, *others = text.split("\n")
        unfinished.append(first)
        if others:
            yield "".join(unfinished)
            yield from others[:-1]
            unfinished = [others[-1]]
    last = "".join(unfinished)
    if last:
        yield last


def cuts_between_lines(path: Path, size: int, *, after_blank: bool = False) -> list[int]:
    """Return where a file may be read in parts of about ``size`` bytes: at the starts of lines, 0 first.

    Args:
        path: The file; one that is compressed stays whole.
        size: Bytes of a part; a long line makes a longer one.
        after_blank: Cut only where the line before is of white space.
    """
    cuts: list[int] = [0]
    if path.suffix.lower() in _MAGIC:
        return cuts
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        while cuts[-1] + size < length:
            file.seek(cuts[-1] + size - 1)
            line = file.readline()  # what is left of one
            while after_blank and (line := file.readline()) and not line.isspace():
                pass
            if file.tell() >= length:
                break
            cuts.append(file.tell())
    return cuts


def lines_before(path: Path, end: int) -> int:
    """Return how many lines end in the first ``end`` bytes of a file."""
    lines = 0
    with path.open("rb") as file:
        while end > 0 and (block := file.read(min(_BLOCK_BYTES, end))):
            lines += block.count(b"\n")
            end -= len(block)
    return lines


def _with_last_marked(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True


def _read_blocks(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    check_is_regular(path)
    kind = path.suffix.lower()
    try:
        with path.open("rb") as file:
            _check_first_bytes(path, kind, file)
            if kind == ".gz":
                yield from _capped(path, file, _gz_blocks(file))
            elif kind == ".zst":
                yield from _capped(path, file, _zst_blocks(path, file))
            else:
                file.seek(start)
                left = os.fstat(file.fileno()).st_size if stop is None else stop - start
                while block := file.read(_BLOCK_BYTES if stop is None else min(_BLOCK_BYTES, left)):
                    yield block
                    left -= len(block)
    except EOFError as error:
        raise _truncated(path) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged: {error}. Copy or compress it again.") from error
    except OSError as error:
        reason = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
        raise DataError(f"{path}: cannot be read: {reason}. Correct the path or the permissions.") from error


def _check_first_bytes(path: Path, kind: str, file: BinaryIO) -> None:
    start = file.read(4)
    file.seek(0)
    for ending, magic in _MAGIC.items():
        if kind == ending and not start.startswith(magic):
            raise DataError(
                f"{path}: begins with {start.hex(' ') or 'nothing'}, expected {ending[1:]} data as its "
                "name says. Rename it to what it is."
            )
        if kind != ending and start.startswith(magic):
            raise DataError(
                f"{path}: holds {ending[1:]} data, expected plain text. Rename it to {path.name}{ending}."
            )


def _truncated(path: Path) -> DataError:
    return DataError(
        f"{path}: ends too early, expected the end of its compressed data. Copy or compress it again."
    )


def _gz_blocks(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as text:
        while block := text.read(_BLOCK_BYTES):
            yield block


def _zst_blocks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        while data := file.read(_ZST_INPUT_BYTES):
            while data:
                if decompressor.eof:  # frames may follow one another
                    decompressor = zstandard.ZstdDecompressor().decompressobj()
                block = decompressor.decompress(data)
                data = decompressor.unused_data
                if block:
                    yield block
    except zstandard.ZstdError as error:
        raise DataError(f"{path}: is damaged: {error}. Copy or compress it again.") from error
    if not decompressor.eof:
        raise _truncated(path)


def _capped(path: Path, file: BinaryIO, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass blocks on until they are absurdly more than what was read for them."""
    size = 0
    for block in blocks:
        size += len(block)
        if size > _FREE_EXPANSION_BYTES + _MAX_EXPANSION * file.tell():
            raise DataError(
                f"{path}: grows to more than {_MAX_EXPANSION} times its size when decompressed ({size} "
                f"bytes from {file.tell()}), expected text. Decompress it first if it is meant to."
            )
        yield block
