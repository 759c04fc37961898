"""The spans that one forward pass sees: numbered, each target in exactly one of them, nothing dropped.

A window of context C starting at token ``start`` has the inputs ``start .. stop - 2`` and the targets
``start + 1 .. stop - 1``, with ``stop - start <= C + 1``: neighbours share one token, which is the last
target of one and the first input of the next. So every token after the first is a target exactly once.

Objectives whose targets stand at their own places share no token between windows: such a window has the
inputs ``start .. stop - 1`` with ``stop - start <= C``, and every token is an input exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_foundry.data.stream import TokenStream

Documents = Literal["concatenate", "isolate", "pad"]
_COARSE = 1024


_PACKING_SAMPLE = 2**20


class Windows:
    """The windows of one stream.

    ``concatenate`` and ``isolate`` cut the stream at multiples of the context. ``pad`` gives each document
    rows of its own, long ones split; it keeps one number for every 1,024 documents in memory.

    Args:
        stream: The tokens.
        context: Inputs a window.
        documents: How windows treat them.
        shared: Tokens that neighbouring windows share, 1 or 0; see the objective's ``shared_tokens``.
    """

    def __init__(self, stream: TokenStream, context: int, documents: Documents, shared: int = 1) -> None:
        self.stream = stream
        self.context = context
        self.documents = documents
        self.shared = shared
        if documents == "pad":
            self._coarse = self._rows_before_blocks()
            self.count = int(self._coarse[-1])
        else:
            self.count = max(0, -(-(len(stream) - shared) // context))

    @property
    def num_targets(self) -> int:
        """Tokens that an epoch adds to the clock: all that may be targets.

        Where windows share a token, all after the first of the stream (``isolate``, ``pad``: of a document).
        """
        firsts = 1 if self.documents == "concatenate" else self.stream.num_documents
        return max(0, len(self.stream) - firsts * self.shared)

    @property
    def num_shown(self) -> int:
        """Tokens that are input or target of some window; under ``pad`` a document of one token is not."""
        if self.documents != "pad":
            return len(self.stream) if self.count else 0
        lengths = self._sampled_lengths()
        lost = (lengths <= self.shared).sum()
        return len(self.stream) - int(lost * self.stream.num_documents / max(1, len(lengths)))

    @property
    def num_split_documents(self) -> int:
        """Documents that do not lie whole in one window, counted on the first 2**20 and scaled."""
        lengths = self._sampled_lengths()
        if self.documents == "pad":
            split = lengths > self.context + self.shared
        else:
            starts = np.asarray(self.stream.document_offsets[: len(lengths)])
            split = (
                starts // self.context
                != np.maximum(starts, starts + lengths - 1 - self.shared) // self.context
            )
        return int(split.sum() * self.stream.num_documents / max(1, len(lengths)))

    def _sampled_lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.stream.document_offsets[: _PACKING_SAMPLE + 1])

    def span(self, window: int) -> tuple[int, int]:
        """Return the first token of a window and the one after its last."""
        assert 0 <= window < self.count, f"window {window} of {self.count}"
        if self.documents != "pad":
            start = window * self.context
            return start, min(start + self.context + self.shared, len(self.stream))
        block = int(np.searchsorted(self._coarse, window, "right")) - 1
        first = block * _COARSE
        rows = self._rows(first, min(first + _COARSE, self.stream.num_documents))
        ends = np.cumsum(rows)
        inside = window - int(self._coarse[block])
        offset = int(np.searchsorted(ends, inside, "right"))
        start, after = self.stream.span_of(first + offset)
        start += (inside - int(ends[offset] - rows[offset])) * self.context
        return start, min(start + self.context + self.shared, after)

    def covering(self, start: int, stop: int) -> range:
        """Return the windows that hold any of tokens ``start`` to ``stop`` as input or target."""
        if self.documents != "pad":
            return range(
                max(0, start - self.shared) // self.context, min(self.count, -(-stop // self.context))
            )
        first = self._first_row(self.stream.document_at(start))
        last = self._first_row(self.stream.document_at(stop - 1) + 1)
        return range(first, last)

    def begins_anew(self, window: int) -> bool:
        """Return whether nothing that a window may remember stands before it.

        That is so at the beginning of the stream, and of a document where they are kept apart.
        """
        start, _ = self.span(window)
        if self.documents == "concatenate" or start == 0:
            return start == 0
        return int(self.stream.document_offsets[self.stream.document_at(start)]) == start

    def exposure(self, window: int) -> npt.NDArray[np.int64]:
        """Return what a window adds to the clock: tokens, words, bytes, documents.

        Tokens are those that may be targets. Words and bytes are those of the tokens that are new in it: the
        same, and the very first token of a stream (``pad``: of a document), which is nobody's target where
        windows share a token. So an epoch adds up to the whole corpus.
        """
        start, stop = self.span(window)
        begins = start == 0
        if self.documents == "pad":
            begins = int(self.stream.document_offsets[self.stream.document_at(start)]) == start
        new = start if begins else start + self.shared
        stream = self.stream
        targets = stop - start - self.shared
        if self.documents == "isolate":
            targets -= self.shared * len(self.boundaries(start, stop))
        return np.array(
            [targets, stream.words(new, stop), stream.bytes(new, stop), stream.documents(new, stop)],
            dtype=np.int64,
        )

    def boundaries(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return the first tokens of documents that begin after ``start`` and before ``stop``."""
        offsets = self.stream.document_offsets
        low, high = np.searchsorted(offsets, [start + 1, stop], "left")
        return np.asarray(offsets[low:high], dtype=np.int64)

    def _rows(self, first: int, after: int) -> npt.NDArray[np.int64]:
        lengths = np.diff(self.stream.document_offsets[first : after + 1])
        return np.asarray(-(-(lengths - self.shared) // self.context), dtype=np.int64).clip(min=0)

    def _rows_before_blocks(self) -> npt.NDArray[np.int64]:
        num_documents = self.stream.num_documents
        sums = [
            int(self._rows(first, min(first + _COARSE, num_documents)).sum())
            for first in range(0, num_documents, _COARSE)
        ]
        return np.concatenate([[0], np.cumsum(sums, dtype=np.int64)]).astype(np.int64)

    def _first_row(self, document: int) -> int:
        block = document // _COARSE
        return int(self._coarse[block] + self._rows(block * _COARSE, document).sum())


@dataclass(frozen=True)
class Packing:
    """How documents fill windows, in percent."""

    padding: float
    """Places of a window that hold no target."""

    split_documents: float
    """Documents that do not lie whole in one window."""

    kept_tokens: float
    """Tokens that are input or target of some window."""

    is_estimate: bool
    """Whether split documents were counted on the first 2**20 documents of a source alone."""


def packing(windows: list[Windows]) -> Packing:
    """Return how the documents of all sources fill their windows."""
    places = sum(source.count * source.context for source in windows)
    targets = sum(source.num_targets for source in windows)
    documents = sum(source.stream.num_documents for source in windows)
    tokens = sum(len(source.stream) for source in windows)
    shown = sum(source.num_shown for source in windows)
    return Packing(
        padding=100 * (1 - targets / places),
        split_documents=100 * sum(source.num_split_documents for source in windows) / documents,
        kept_tokens=100 * shown / tokens,
        is_estimate=any(source.stream.num_documents > _PACKING_SAMPLE for source in windows),
    )
