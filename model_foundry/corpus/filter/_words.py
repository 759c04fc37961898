"""Words and their n-grams as 64-bit hashes, the same on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
"""A word for comparisons: letters, digits and underscores; case is ignored by ``words_of``."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation."""
    return WORD.findall(text.lower())


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def hashes_of(words: Sequence[str]) -> NDArray[np.uint64]:
    """Return the hash of each word."""
    return np.fromiter(map(_hash, words), dtype=np.uint64, count=len(words))


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return values whose bits are spread evenly (the finalizer of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return result


def ngram_hashes(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Return the hash of every run of ``n`` words, of shape (words - n + 1,); none where there are fewer."""
    count = max(0, len(words) - n + 1)
    result = np.zeros(count, dtype=np.uint64)
    for at in range(n if count else 0):
        result = mixed(result * _FACTOR + words[at : at + count])
    return result
