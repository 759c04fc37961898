"""Streams of gz, zst, bz2 and xz as blocks of bytes, of which none is much larger than what was asked for.

Streams may follow one another in a file, as ``cat a.gz b.gz`` makes them.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
MAGIC = {
    ".gz": b"\x1f\x8b",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\x00",
    ".zip": b"PK",
}
"""How files of each ending begin."""

_ZST_INPUT_BYTES = 2048
"""A zst block of 4 bytes can hold 128 KiB of text, so this much input gives at most 64 MiB at once."""

_XZ_MEMORY_BYTES = 256 << 20
"""xz -9 needs 65 MiB to decompress; a file may ask for four gigabytes."""

_MIDDLE_OF_BZ2 = (b"1AY&SY", b"\x17rE8P\x90")
_ZIP_ENTRIES = (b"PK\x03\x04", b"PK\x05\x06")


class Damaged(Exception):
    """The data is not what it begins as; the message says how."""


def kind_of_data(start: bytes) -> str:
    """Return the ending that a file with these first bytes should have; nothing for one that is plain.

    Ten bytes are enough. ``BZh`` and ``PK`` alone begin words, too, so more of their data is looked at.
    """
    if start.startswith(_ZIP_ENTRIES):
        return ".zip"
    if start.startswith(b"BZh"):
        return ".bz2" if start[4:10] in _MIDDLE_OF_BZ2 else ""
    return next((kind for kind in (".gz", ".zst", ".xz") if start.startswith(MAGIC[kind])), "")


def decompressed(kind: str, file: BinaryIO) -> Iterator[bytes]:
    """Yield what a file of one kind holds, zip excepted.

    Raises:
        EOFError: When it ends too early.
        Damaged: When the data is not what its first bytes say.
    """
    try:
        if kind == ".gz":
            yield from _gz(file)
        elif kind == ".zst":
            yield from _zst(file)
        elif kind == ".bz2":
            yield from _streams(file, bz2.BZ2Decompressor)
        else:
            yield from _streams(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES))
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise Damaged(str(error)) from error
    except OSError as error:
        if error.errno is None:  # bz2 has no class of its own for it
            raise Damaged(str(error)) from error
        raise


def _gz(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as text:
        while block := text.read(BLOCK_BYTES):
            yield block


def _zst(file: BinaryIO) -> Iterator[bytes]:
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
        raise Damaged(str(error)) from error
    if not decompressor.eof:
        raise EOFError


def _streams(
    file: BinaryIO, new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> Iterator[bytes]:
    decompressor = new()
    data = b""
    while True:
        if decompressor.eof:
            data = decompressor.unused_data.lstrip(b"\0")  # xz may be padded with zeros
            while not data:
                more = file.read(BLOCK_BYTES)
                if not more:
                    return
                data = more.lstrip(b"\0")
            decompressor = new()
        elif decompressor.needs_input:
            data = file.read(BLOCK_BYTES)
            if not data:
                raise EOFError
        else:
            data = b""
        if block := decompressor.decompress(data, BLOCK_BYTES):
            yield block
