"""What the text of a source is made of, counted while it is encoded: its words, documents and their lengths.

Nothing here depends on how the text came: in which sections, batches or processes. Memory has a bound: words
and documents are kept as in ``distinct.py``; of lengths there are few, as ``n`` different ones need documents
of ``n * (n + 1) / 2`` words together.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._word_hashes import DocumentHashes, word_hashes
from model_foundry.corpus._word_table import JoinedTexts
from model_foundry.corpus.distinct import Distinct

_BLOCK_BYTES = 2 << 20
"""About so much text is looked at at once: a number of eight bytes for each word is many times its text."""

STATISTICS = "statistics.npz"
"""Holds, beside the tokens of a source, what was counted of it."""


class SideCounts:
    """What was counted of one side."""

    def __init__(self) -> None:
        self.types = Distinct()
        """The words of ``str.split()`` as they are written."""
        self.documents = Distinct()
        """By their words in order; a document's size is its number of words."""
        self.words = Distinct(None)
        """Lengths of documents in words."""
        self.tokens = Distinct(None)
        """Lengths of documents in tokens, the one that ends it counted."""

    def merge(self, other: SideCounts) -> None:
        """Count what another one has counted."""
        for name, mine in vars(self).items():
            mine.merge(getattr(other, name))


class TextStatistics:
    """Counts both sides of a text that comes in order."""

    def __init__(self) -> None:
        self._hashes = DocumentHashes()
        self.sides: dict[str, SideCounts] = {}

    def add(self, texts: JoinedTexts, held_out: NDArray[np.bool_], ends: NDArray[np.bool_]) -> None:
        """Count the words of texts, and the documents that end in them.

        Args:
            texts: Pieces of documents, cut between words.
            held_out: Whether each is on the validation side.
            ends: Whether the document, or its part on this side, ends with each.
        """
        borders = np.flatnonzero(np.diff(texts.starts // _BLOCK_BYTES)) + 1
        for first, after in itertools.pairwise([0, *borders.tolist(), len(ends)]):
            if first < after:
                self._add(texts.part(first, after), held_out[first:after], ends[first:after])

    def _add(self, texts: JoinedTexts, held_out: NDArray[np.bool_], ends: NDArray[np.bool_]) -> None:
        hashes, words = word_hashes(texts)
        documents = self._hashes.add(hashes, words, ends)
        sizes = self._hashes.words
        for side, of_text in (("train", ~held_out), ("validation", held_out)):
            if of_text.all():
                self._of(side).types.add(hashes)
                self._of(side).documents.add(documents, sizes)
            elif of_text.any():
                of_document = of_text[ends]
                self._of(side).types.add(hashes[np.repeat(of_text, words)])
                self._of(side).documents.add(documents[of_document], sizes[of_document])

    def add_lengths(self, side: str, *, tokens: NDArray[np.int64], words: NDArray[np.int64]) -> None:
        """Count the lengths of documents."""
        self._of(side).tokens.add(tokens.astype(np.uint64))
        self._of(side).words.add(words.astype(np.uint64))

    def merge(self, other: TextStatistics) -> None:
        """Count what another one has counted of another part of the text, or of another text."""
        for side, counts in other.sides.items():
            self._of(side).merge(counts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that was counted."""
        return {
            f"{side}.{name}.{array}": values
            for side, counts in sorted(self.sides.items())
            for name, one in vars(counts).items()
            for array, values in one.arrays().items()
        }

    def save(self, path: Path) -> None:
        """Write all that was counted."""
        arrays: dict[str, Any] = self.arrays()
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what was written."""
        made = cls()
        with np.load(path, allow_pickle=False) as file:
            for side in sorted({name.partition(".")[0] for name in file.files}):
                counts = made._of(side)
                for name, one in vars(counts).items():
                    arrays = {array: file[f"{side}.{name}.{array}"] for array in one.arrays()}
                    setattr(counts, name, one.from_arrays(arrays))
        return made

    def _of(self, side: str) -> SideCounts:
        return self.sides.setdefault(side, SideCounts())
