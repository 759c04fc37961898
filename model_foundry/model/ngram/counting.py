"""Counts of n-grams, as sorted tables of integers: no Python object per n-gram.

An n-gram is a row of the table of its order. Its key is ``row of its first n - 1 tokens * V + last token``,
so that all continuations of a context lie side by side, and a table of any order has keys of 64 bits.
The table of order 1 is dense: the row of a token is its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from model_foundry.data.stream import TokenStream

Int64 = npt.NDArray[np.int64]

MISSING = -1
"""The row of an n-gram that was not seen."""


@dataclass(frozen=True)
class Counts:
    """What was counted.

    A document's contexts begin with the end of the document before it (the first one's, too), and reach no
    further back. A row takes 16 bytes on disk; counting and measuring took 130 bytes a token, at order 5.
    """

    vocabulary_size: int
    keys: list[Int64]
    """By order, the sorted keys; of order 1 every id."""

    counts: list[Int64]
    """By order, how often each was seen."""

    continuations: list[Int64]
    """By order but the highest, how many different tokens were seen before each; for n-grams that begin a
    document, which nothing can come before, how often they were seen."""

    @property
    def order(self) -> int:
        """Tokens of the longest n-grams."""
        return len(self.keys)


def count_ngrams(streams: Iterable[TokenStream], *, order: int, vocabulary_size: int, eos_id: int) -> Counts:
    """Count the n-grams of orders 1 to ``order`` in every stream, each token once as the last one.

    Args:
        streams: Tokens, documents ended by ``eos_id``.
        order: Of the longest n-grams, at least 1.
        vocabulary_size: Above every id.
        eos_id: Ends a document.
    """
    tokens_N, is_target_N = _with_beginnings(streams, eos_id)
    keys = [np.arange(vocabulary_size, dtype=np.int64)]
    counts = [np.bincount(tokens_N[is_target_N], minlength=vocabulary_size)]
    continuations: list[Int64] = []
    begins_document_R = keys[0] == eos_id
    rows_N = tokens_N  # of the n-gram of the last order that ends here
    for length in range(1, order):
        goes_on_N = (rows_N != MISSING) & (tokens_N != eos_id if length > 1 else True)
        ends_M = np.flatnonzero(goes_on_N[:-1] & is_target_N[1:]) + 1
        keys_M = rows_N[ends_M - 1] * vocabulary_size + tokens_N[ends_M]
        keys_R, rows_M, counts_R = np.unique(keys_M, return_inverse=True, return_counts=True)
        suffixes_R = np.empty(len(keys_R), dtype=np.int64)
        suffixes_R[rows_M] = rows_N[ends_M]
        before = np.bincount(suffixes_R, minlength=len(keys[-1]))
        continuations.append(np.where(begins_document_R, counts[-1], before) if length > 1 else before)
        begins_document_R = begins_document_R[keys_R // vocabulary_size]
        keys.append(keys_R)
        counts.append(counts_R)
        rows_N = np.full(len(tokens_N), MISSING, dtype=np.int64)
        rows_N[ends_M] = rows_M
    return Counts(vocabulary_size, keys, counts, continuations)


def _with_beginnings(streams: Iterable[TokenStream], eos_id: int) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Return the tokens of all streams, an end of document before each, and which of them are targets."""
    tokens: list[Int64] = [np.empty(0, dtype=np.int64)]
    targets: list[npt.NDArray[np.bool_]] = [np.empty(0, dtype=np.bool_)]
    for stream in streams:
        tokens += [np.array([eos_id], dtype=np.int64), stream.tokens(0, len(stream))]
        targets += [np.zeros(1, dtype=np.bool_), np.ones(len(stream), dtype=np.bool_)]
    return np.concatenate(tokens), np.concatenate(targets)
