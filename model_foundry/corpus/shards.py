"""Token shards on disk: plain ``.npy`` files that are appended to, and read back as memory maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model_foundry.corpus._words import count_words
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.split import Part
from model_foundry.errors import DataError

SHARD_TOKENS = 2**27
_BATCH_CHARACTERS = 2 << 20
_BUFFER_TOKENS = 1 << 20
_MAX_WORDS = 255  # of one token, in a uint8


class NpyFile:
    """A one-dimensional array on disk that grows; it is a valid ``.npy`` once it is closed.

    Args:
        path: A new file.
        dtype: Of the elements.
    """

    _HEADER_BYTES = 128

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._file.write(bytes(self._HEADER_BYTES))
        self.length = 0

    def append(self, values: NDArray[Any]) -> None:
        """Write values at the end."""
        self._file.write(values.astype(self._dtype, copy=False).tobytes())
        self.length += len(values)

    def close(self) -> None:
        """Write the header, which holds the length (NumPy's format 1.0)."""
        header = f"{{'descr': {self._dtype.str!r}, 'fortran_order': False, 'shape': ({self.length},), }}"
        magic = b"\x93NUMPY\x01\x00" + (self._HEADER_BYTES - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(magic + header.ljust(self._HEADER_BYTES - 11).encode("ascii") + b"\n")
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file, finished or not; unfinished it is no array."""
        self._file.close()


def _token_dtype(encoder: TextEncoder) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if encoder.vocab_size <= 2**16 else np.uint32


class SideWriter:
    """Writes one side of a source; as a context manager it lets go of its files when the work fails.

    Args:
        folder: Receives ``train/`` or ``validation/``.
        side: Which of them.
        encoder: Gives the width of a token and the end of a document.
        shard_tokens: Most tokens a file.
    """

    def __init__(
        self, folder: Path, side: str, encoder: TextEncoder, shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self._folder = folder / side
        self._side = side
        self._eos_id = encoder.eos_id
        self.dtype = _token_dtype(encoder)
        self._shard_tokens = shard_tokens
        self._folder.mkdir()
        self._tables = {
            name: NpyFile(self._folder / f"document_{name}.npy", np.int64)
            for name in ("offsets", "words", "bytes", "ids")
        }
        self._tables["offsets"].append(np.zeros(1, dtype=np.int64))
        self._open: tuple[NpyFile, NpyFile] | None = None
        self._shards: list[dict[str, Any]] = []
        self._buffer: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._buffered = 0
        self._words_in_tokens = 0
        self._rows: list[tuple[int, int, int, int]] = []
        self.documents = self.words = self.bytes = self.tokens = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for file in [*self._tables.values(), *(self._open or ())]:
            file.abandon()

    def add(self, part: Part, ids: NDArray[Any], words: NDArray[Any]) -> None:
        """Append a document and the token that ends it.

        A document cut at its end gets none. A text of which the tokenizer keeps nothing always gets one,
        which then holds its words.
        """
        num_words, num_bytes = count_words(part.text), len(part.text.encode())
        if part.is_complete or not len(ids):
            left = 0 if len(ids) else min(num_words, _MAX_WORDS + 1)
            ids = np.append(ids, np.array([self._eos_id], dtype=ids.dtype))
            words = np.append(words, np.array([left], dtype=words.dtype))
        if len(words) and int(words.max()) > _MAX_WORDS:
            raise DataError(
                f"{self._side} document {part.ordinal}: {int(words.max())} or more words begin in one token, "
                f"expected at most {_MAX_WORDS}: the tokenizer drops most of this text. Use another "
                "tokenizer or remove the document."
            )
        self._buffer.append((ids.astype(self.dtype, copy=False), words.astype(np.uint8)))
        self._buffered += len(ids)
        self.documents += 1
        self.words += num_words
        self.bytes += num_bytes
        self.tokens += len(ids)
        self._words_in_tokens += int(words.sum())
        self._rows.append((self.tokens, num_words, num_bytes, part.ordinal))
        if self._buffered >= _BUFFER_TOKENS:
            self._flush()

    def close(self) -> dict[str, Any]:
        """Finish the files and return the side's section of the manifest."""
        self._flush()
        self._close_shard()
        for table in self._tables.values():
            table.close()
        assert self._words_in_tokens == self.words, (
            f"{self._words_in_tokens} words in tokens, {self.words} in documents of {self._folder}"
        )
        counts = {
            "documents": self.documents,
            "words": self.words,
            "bytes": self.bytes,
            "tokens": self.tokens,
        }
        return {**counts, "shards": self._shards}

    def _flush(self) -> None:
        if not self._rows:
            return
        tokens = np.concatenate([ids for ids, _ in self._buffer])
        words = np.concatenate([counts for _, counts in self._buffer])
        start = 0
        while start < len(tokens):
            files = self._open or self._open_shard()
            end = start + self._shard_tokens - files[0].length
            files[0].append(tokens[start:end])
            files[1].append(words[start:end])
            if files[0].length == self._shard_tokens:
                self._close_shard()
            start = end
        columns = np.array(self._rows, dtype=np.int64).T
        for name, column in zip(("offsets", "words", "bytes", "ids"), columns, strict=True):
            self._tables[name].append(column)
        self._buffer, self._rows, self._buffered = [], [], 0

    def _open_shard(self) -> tuple[NpyFile, NpyFile]:
        names = [f"{kind}-{len(self._shards):05d}.npy" for kind in ("tokens", "words")]
        self._open = NpyFile(self._folder / names[0], self.dtype), NpyFile(self._folder / names[1], np.uint8)
        self._shards.append(
            {"tokens": f"{self._side}/{names[0]}", "words": f"{self._side}/{names[1]}", "length": 0}
        )
        return self._open

    def _close_shard(self) -> None:
        if self._open is not None:
            self._shards[-1]["length"] = self._open[0].length
            for file in self._open:
                file.close()
            self._open = None


def encode_parts(
    parts: Iterator[Part], encoder: TextEncoder
) -> Iterator[tuple[Part, NDArray[Any], NDArray[Any]]]:
    """Yield every part with its ids and the words that begin in each; a few megabytes are held at a time."""
    batch: list[Part] = []
    size = 0
    for part in parts:
        batch.append(part)
        size += len(part.text)
        if size >= _BATCH_CHARACTERS:
            yield from _encode_batch(batch, encoder)
            batch, size = [], 0
    yield from _encode_batch(batch, encoder)


def _encode_batch(
    batch: list[Part], encoder: TextEncoder
) -> Iterator[tuple[Part, NDArray[Any], NDArray[Any]]]:
    """Encode the pieces of all parts together: short parts share a call, and a long one is cut into many."""
    encoded: list[list[tuple[NDArray[Any], NDArray[Any]]]] = [[] for _ in batch]
    owners: list[int] = []
    pieces: list[str] = []
    size = 0

    def encode_pieces() -> None:
        for owner, (ids, words) in zip(owners, encoder.encode_with_words(pieces), strict=True):
            counts = np.minimum(words, _MAX_WORDS + 1).astype(np.uint16)  # more is refused when it is written
            encoded[owner].append((ids.astype(_token_dtype(encoder)), counts))
        owners.clear()
        pieces.clear()

    for number, part in enumerate(batch):
        for piece in encoder.pieces(part.text):
            owners.append(number)
            pieces.append(piece)
            size += len(piece)
            if size >= _BATCH_CHARACTERS:
                encode_pieces()
                size = 0
    encode_pieces()
    for part, of_part in zip(batch, encoded, strict=True):
        ids, words = of_part[0] if len(of_part) == 1 else map(np.concatenate, zip(*of_part, strict=True))
        yield part, ids, words
