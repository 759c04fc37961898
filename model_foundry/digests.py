"""The SHA-256 of files: of a large one in chunks, so that every core works on it while the caller goes on.

The digest of a file of at most one chunk is its SHA-256. That of a larger one is the SHA-256 of its chunks'
SHA-256s, one after the other: a hash tree (Merkle 1987) of one level. A changed bit changes its chunk's
digest and so the file's. Which of the two a digest is follows from the size, to be known beside it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 4 * 2**20
"""Large enough that a thread costs nothing beside it, small enough to share out one file."""

WHOLE = sys.maxsize
"""A chunk as large as any file: the digest is the plain SHA-256."""

_PIECE_BYTES = 4 * 2**20  # read at once; the interpreter's lock is taken once a piece


def file_sha256(path: Path) -> str:
    """Return the plain SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ChunkedDigest:
    """The digest of bytes that come one after the other.

    Args:
        chunk_bytes: Size of a chunk.
    """

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._done: list[bytes] = []
        self._open, self._room = hashlib.sha256(), chunk_bytes

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        rest = memoryview(data)
        while rest:
            if not self._room:
                self._done.append(self._open.digest())
                self._open, self._room = hashlib.sha256(), self._chunk_bytes
            part = rest[: self._room]
            self._open.update(part)
            self._room -= len(part)
            rest = rest[len(part) :]

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in hexadecimal."""
        return _root([*self._done, self._open.digest()])


@dataclass(frozen=True)
class _Begun:
    """A large file whose digest, and perhaps whose flush, is under way."""

    flush: Future[None] | None
    chunks: list[Future[bytes]]


class Hashing:
    """Digests of the files of a folder, large ones by as many threads as there are cores.

    A large file may be begun before the others are written, and be flushed to the disk meanwhile. To be left
    with ``close``, or as a context.

    Args:
        folder: Where they lie.
        chunk_bytes: Size of a chunk, ``WHOLE`` for plain SHA-256.
    """

    def __init__(self, folder: Path, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._folder = folder
        self._chunk_bytes = chunk_bytes
        self._begun: dict[str, _Begun] = {}
        self._opened: list[int] = []
        self._hashers = ThreadPoolExecutor(_cores(), "hash")
        self._flushers = ThreadPoolExecutor(2, "flush")
        self._buffers = threading.local()

    def __enter__(self) -> Hashing:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is not done, and let go of the files."""
        for pool in (self._hashers, self._flushers):
            pool.shutdown(cancel_futures=True)
        for descriptor in self._opened:
            os.close(descriptor)
        self._opened.clear()
        self._begun.clear()

    def begin(self, name: str, *, flush: bool = False) -> None:
        """Begin with a file that nobody writes to any more; of a small one nothing is done yet.

        Args:
            name: Its relative name.
            flush: Whether it is brought to the disk as well.

        Raises:
            OSError: When it cannot be opened.
        """
        path = self._folder / name
        size = path.stat().st_size
        if size <= CHUNK_BYTES or name in self._begun:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        self._opened.append(descriptor)
        offsets = range(0, size, self._chunk_bytes)
        try:
            flushing = self._flushers.submit(os.fsync, descriptor) if flush else None
            chunks = [self._hashers.submit(self._chunk, descriptor, offset, size) for offset in offsets]
        except RuntimeError:  # no thread can be had where memory is short: the caller does it, in its time
            return
        self._begun[name] = _Begun(flushing, chunks)

    def flushed(self, name: str) -> None:
        """Return when a file is on the disk.

        Raises:
            OSError: When the disk refused it.
        """
        begun = self._begun.get(name)
        if begun is not None and begun.flush is not None:
            begun.flush.result()
            return
        descriptor = os.open(self._folder / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def result(self, name: str) -> str:
        """Return the digest of a file, in hexadecimal.

        Raises:
            OSError: When it cannot be read.
        """
        begun = self._begun.get(name)
        if begun is not None:
            return _root([chunk.result() for chunk in begun.chunks])
        digest = ChunkedDigest(self._chunk_bytes)
        with (self._folder / name).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def _chunk(self, descriptor: int, offset: int, size: int) -> bytes:
        digest, end = hashlib.sha256(), min(offset + self._chunk_bytes, size)
        buffer: memoryview | None = getattr(self._buffers, "own", None)
        if buffer is None:
            buffer = self._buffers.own = memoryview(bytearray(_PIECE_BYTES))
        while offset < end and (count := os.preadv(descriptor, [buffer[: end - offset]], offset)):
            digest.update(buffer[:count])
            offset += count
        return digest.digest()


def _root(chunks: list[bytes]) -> str:
    """Return the digest of a file from those of its chunks."""
    return (chunks[0] if len(chunks) == 1 else hashlib.sha256(b"".join(chunks)).digest()).hex()


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
