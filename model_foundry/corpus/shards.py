"""Token shards on disk: plain ``.npy`` files that are appended to, and read back as memory maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model_foundry.corpus.chunks import SideChunk, token_dtype
from model_foundry.corpus.encoder import TextEncoder

SHARD_TOKENS = 2**27


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


class SideWriter:
    """Writes one side of a source; as a context manager it lets go of its files when the work fails.

    Args:
        folder: Receives ``train/`` or ``validation/``.
        side: Which of them.
        encoder: Gives the width of a token.
        shard_tokens: Most tokens a file.
    """

    def __init__(
        self, folder: Path, side: str, encoder: TextEncoder, shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self._folder = folder / side
        self._side = side
        self.dtype = token_dtype(encoder)
        self._shard_tokens = shard_tokens
        self._folder.mkdir()
        self._tables = {
            name: NpyFile(self._folder / f"document_{name}.npy", np.int64)
            for name in ("offsets", "words", "bytes", "ids")
        }
        self._tables["offsets"].append(np.zeros(1, dtype=np.int64))
        self._open: tuple[NpyFile, NpyFile] | None = None
        self._shards: list[dict[str, Any]] = []
        self._words_in_tokens = 0
        self._offset = 0
        self.documents = self.words = self.bytes = self.tokens = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for file in [*self._tables.values(), *(self._open or ())]:
            file.abandon()

    def append(self, chunk: SideChunk, first_ordinal: int = 0) -> None:
        """Write tokens at the end, and the documents that end in them.

        Args:
            chunk: Of this side.
            first_ordinal: Number in the source of the document that the chunk calls 0.
        """
        start = 0
        while start < len(chunk.tokens):
            files = self._open or self._open_shard()
            end = start + self._shard_tokens - files[0].length
            files[0].append(chunk.tokens[start:end])
            files[1].append(chunk.words[start:end])
            if files[0].length == self._shard_tokens:
                self._close_shard()
            start = end
        lengths, words, sizes, ordinals = chunk.rows.T
        columns = (self._offset + np.cumsum(lengths), words, sizes, ordinals + first_ordinal)
        for name, column in zip(("offsets", "words", "bytes", "ids"), columns, strict=True):
            self._tables[name].append(column)
        self._offset += int(lengths.sum())
        self.documents += len(chunk.rows)
        self.words += int(words.sum())
        self.bytes += int(sizes.sum())
        self.tokens += len(chunk.tokens)
        self._words_in_tokens += int(chunk.words.sum(dtype=np.int64))

    def close(self) -> dict[str, Any]:
        """Finish the files and return the side's section of the manifest."""
        self._close_shard()
        for table in self._tables.values():
            table.close()
        assert self._offset == self.tokens, (
            f"{self.tokens} tokens, {self._offset} in documents of {self._folder}"
        )
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
