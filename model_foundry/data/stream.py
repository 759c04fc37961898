"""One side (training or validation) of one prepared source: memory-mapped tokens and their documents.

Nothing is read at opening but the manifest, so a corpus of any size opens in the time of a small one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


class TokenStream:
    """A row of ``length`` tokens in which documents follow one another.

    Args:
        name: Name of the source.
        folder: The prepared source's folder.
        side: ``train`` or ``validation``.
        manifest: The prepared source's manifest.
        bytes_per_token: UTF-8 bytes of text that each id stands for, or None where ids do not tell; then
        bytes
            within a document are taken as evenly spread over its tokens.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        side: str,
        manifest: dict[str, Any],
        bytes_per_token: npt.NDArray[Any] | None,
    ) -> None:
        facts = manifest["splits"][side]
        self.name = name
        self.side = side
        self.length: int = facts["tokens"]
        self.num_documents: int = facts["documents"]
        self.num_words: int = facts["words"]
        self.num_bytes: int = facts["bytes"]
        self.inputs: list[dict[str, Any]] = manifest.get("inputs", [])
        lengths = [shard["length"] for shard in facts["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        self._tokens = [_mapped(folder / shard["tokens"]) for shard in facts["shards"]]
        self._words = [_mapped(folder / shard["words"]) for shard in facts["shards"]]
        self.document_offsets = _mapped(folder / side / "document_offsets.npy")
        self.document_words = _mapped(folder / side / "document_words.npy")
        self.document_bytes = _mapped(folder / side / "document_bytes.npy")
        self.document_ids = _mapped(folder / side / "document_ids.npy")
        self._bytes_per_token = None if bytes_per_token is None else bytes_per_token.astype(np.int64)

    def __len__(self) -> int:
        return self.length

    def tokens(self, start: int, stop: int) -> Int64:
        """Return tokens ``start`` to ``stop`` (exclusive), cut at the stream's end."""
        return self._read(self._tokens, start, stop)

    def words(self, start: int, stop: int) -> int:
        """Count the whitespace words of the source text that begin in tokens ``start`` to ``stop``."""
        return int(self.words_by_token(start, stop).sum())

    def words_by_token(self, start: int, stop: int) -> Int64:
        """Count the whitespace words that begin in each of tokens ``start`` to ``stop``."""
        return self._read(self._words, start, stop)

    def bytes(self, start: int, stop: int) -> int:
        """Count the UTF-8 bytes of source text that tokens ``start`` to ``stop`` stand for."""
        if self._bytes_per_token is not None:
            return int(self._bytes_per_token[self.tokens(start, stop)].sum())
        return self._spread_bytes(stop) - self._spread_bytes(start)

    def documents(self, start: int, stop: int) -> int:
        """Count the documents whose last token lies in ``start`` to ``stop``."""
        ends = self.document_offsets[1:]
        return int(np.searchsorted(ends, stop, "right") - np.searchsorted(ends, start, "right"))

    def document_at(self, token: int) -> int:
        """Return the number, on this side, of the document that holds ``token``."""
        return int(np.searchsorted(self.document_offsets, token, "right")) - 1

    def span_of(self, document: int) -> tuple[int, int]:
        """Return the first token of a document and the one after its last."""
        return int(self.document_offsets[document]), int(self.document_offsets[document + 1])

    def _spread_bytes(self, token: int) -> int:
        if token >= self.length:
            return self.num_bytes
        document = self.document_at(token)
        first, after = self.span_of(document)
        before = int(self.document_bytes[:document].sum())
        return before + int(self.document_bytes[document]) * (token - first) // (after - first)

    def _read(self, shards: list[npt.NDArray[Any]], start: int, stop: int) -> Int64:
        stop = min(stop, self.length)
        shard = int(np.searchsorted(self._starts, start, "right")) - 1
        pieces = []
        while start < stop:
            first, after = int(self._starts[shard]), int(self._starts[shard + 1])
            pieces.append(shards[shard][start - first : min(stop, after) - first])
            start, shard = after, shard + 1
        if len(pieces) == 1:
            return pieces[0].astype(np.int64)
        return np.concatenate([np.empty(0, np.int64), *pieces]).astype(np.int64)


def _mapped(path: Path) -> npt.NDArray[Any]:
    # A plain view of the mapping: slicing np.memmap objects costs several times as much.
    mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return mapped
