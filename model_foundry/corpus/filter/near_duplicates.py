"""Documents that are almost there already: MinHash (Broder 1997) with locality-sensitive hashing.

The Jaccard similarity of two documents is that of their sets of word n-grams (shingles). The share of equal
entries in two signatures estimates it without bias, with standard deviation sqrt(J (1 - J) / permutations).
Signatures are cut into bands, and only documents that share a whole band are compared (Leskovec et al. 2014,
Mining of Massive Datasets, section 3.4).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model_foundry.corpus.comparing import Comparison, in_blocks
from model_foundry.corpus.filter._words import hashes_of, mixed, ngram_hashes, words_of
from model_foundry.units import Share

_FOUND = 0.99
"""Share of the pairs exactly at the threshold that share a band, at least."""

_SHINGLES = 4096


class NearDuplicates(Comparison):
    """Leaves out every document that is similar to an earlier one that stays, held-out ones coming first.

    Similarity is asked of documents that stay, not of those that were left out: a chain of versions, each
    close to the next, keeps the first, and the next that is far from it.
    """

    threshold: Share = Field(default=0.8, gt=0)
    """Estimated Jaccard similarity of the shingles from which on a document is left out."""

    shingle: int = Field(default=5, ge=1, le=64)
    """Words of a shingle, in small letters and without punctuation; a shorter document is one shingle."""

    permutations: int = Field(default=128, ge=16, le=1024)
    """Entries of a signature, of 4 bytes on disk while documents are compared."""

    @property
    def width_of_signature(self) -> int:
        """Entries of a signature."""
        return self.permutations

    @property
    def bands(self) -> tuple[int, int]:
        """Bands and the entries of each: the longest that still find pairs at the threshold."""
        return longest_bands(self.threshold, self.permutations)

    def signature(self, text: str) -> NDArray[np.uint32]:
        """Return the least value of all shingles under each permutation."""
        words = words_of(text) or text.split()
        shingles = np.unique(ngram_hashes(hashes_of(words), min(self.shingle, len(words))))
        factors, offsets = _permutations(self.permutations)
        least = np.full(self.permutations, 2**32 - 1, dtype=np.uint32)
        for start in range(0, len(shingles), _SHINGLES):
            values = shingles[start : start + _SHINGLES, None] * factors + offsets
            least = np.minimum(least, (values >> np.uint64(32)).min(axis=0).astype(np.uint32))
        return least

    def repeats(self, signatures: NDArray[np.uint32], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows are similar to an earlier one that stays."""
        sharing = self._buckets(signatures, rows)
        again = np.zeros(len(rows), dtype=np.bool_)
        staying: dict[int, list[int]] = {}  # by bucket: those that are compared with
        for at in sorted(sharing):
            mine = signatures[rows[at]]
            others = dict.fromkeys(other for bucket in sharing[at] for other in staying.get(bucket, ()))
            if any((signatures[rows[other]] == mine).mean() >= self.threshold for other in others):
                again[at] = True
                continue
            for bucket in sharing[at]:
                staying.setdefault(bucket, []).append(at)
        return again

    def _buckets(self, signatures: NDArray[np.uint32], rows: NDArray[np.int64]) -> dict[int, list[int]]:
        """Return for every row that shares a band with another one the buckets that it is in."""
        sharing: dict[int, list[int]] = {}
        number, length = self.bands
        first = 0
        for band in range(number):
            keys = np.zeros(len(rows), dtype=np.uint64)
            for block in in_blocks(rows):
                part = signatures[rows[block], band * length : (band + 1) * length]
                for column in part.T:
                    keys[block] = mixed(keys[block] * np.uint64(0x9E3779B97F4A7C15) + column)
            _, bucket, counts = np.unique(keys, return_inverse=True, return_counts=True)
            for at in np.flatnonzero(counts[bucket] > 1).tolist():
                sharing.setdefault(at, []).append(first + int(bucket[at]))
            first += len(counts)
        return sharing


def longest_bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Return how many bands of how many entries find 99 % of the pairs that are just similar enough."""
    length = 1
    for longer in range(2, permutations + 1):
        if 1 - (1 - threshold**longer) ** (permutations // longer) < _FOUND:
            break
        length = longer
    return permutations // length, length


@lru_cache(maxsize=4)
def _permutations(number: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return odd factors and offsets of ``(a x + b) mod 2^64``, of which the high half is kept.

    Multiply-shift hashing (Dietzfelbinger et al. 1997); fixed for ever, so that signatures are.
    """
    drawn = mixed(np.arange(1, 2 * number + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return drawn[:number] | np.uint64(1), drawn[number:]
