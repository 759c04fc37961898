"""The words of many texts, and whole documents, as numbers of 64 bits; without making a word in Python."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._word_table import JoinedTexts

_BLOCK = 8
_LONG = 512
"""Words of more bytes are hashed one by one: some texts have no white space at all."""

_ODD = 0x9E3779B97F4A7C15
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(_BLOCK + 1)], dtype=np.uint64)
_BITS = 1 << 64


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers whose bits all depend on all bits of the given ones; no two become one.

    The last steps of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators", figure 17).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return result


def word_hashes(texts: JoinedTexts) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return a hash of each word of ``str.split()``, in order, and how many words each text has.

    Equal words have equal hashes; two different ones share a hash once in 2**64 pairs.
    """
    begins, ends = texts.word_places()
    hashes = _hashes(texts.data, begins, ends - begins)
    before = np.searchsorted(begins, np.append(texts.starts, len(texts.data)))
    return hashes, np.diff(before)


def _hashes(
    data: NDArray[np.uint8], begins: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return the hashes of stretches of bytes: eight bytes at a time, of all stretches at once."""
    padded = np.append(data, np.zeros(_BLOCK, dtype=np.uint8))
    blocks = np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    first = blocks[begins] & _MASKS[np.minimum(lengths, _BLOCK)]
    hashes = mixed(first + lengths.astype(np.uint64) * np.uint64(_ODD))
    rest = np.flatnonzero((lengths > _BLOCK) & (lengths <= _LONG))
    at = _BLOCK
    while len(rest):
        left = lengths[rest] - at
        block = blocks[begins[rest] + at] & _MASKS[np.minimum(left, _BLOCK)]
        hashes[rest] = mixed(hashes[rest] ^ block)
        at += _BLOCK
        rest = rest[left > _BLOCK]
    for number in np.flatnonzero(lengths > _LONG).tolist():
        word = data[begins[number] : begins[number] + lengths[number]].tobytes()
        hashes[number] = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "big")
    return hashes


class DocumentHashes:
    """Hashes documents by their words in order, however they come in pieces.

    A document of ``n`` words with the hashes ``h[i]`` has the hash ``mixed(sum(h[i] * ODD**i) + n * ODD)``,
    modulo 2**64; sums over many documents are taken at once. White space between words does not count.
    """

    def __init__(self) -> None:
        self._powers = np.ones(1, dtype=np.uint64)
        self._inverses = np.ones(1, dtype=np.uint64)
        self._open = (0, 0)
        """Sum and words of the document that goes on."""
        self.words = np.zeros(0, dtype=np.int64)
        """Of the documents that ended last."""

    def add(
        self, hashes: NDArray[np.uint64], words: NDArray[np.int64], ends: NDArray[np.bool_]
    ) -> NDArray[np.uint64]:
        """Return the hashes of the documents that end here.

        Args:
            hashes: Of words, in order.
            words: Of each text.
            ends: Whether a document ends with each text.
        """
        self._know(len(hashes) + 1)
        sums = np.zeros(len(hashes) + 1, dtype=np.uint64)
        np.cumsum(hashes * self._powers[: len(hashes)], out=sums[1:])
        stops = np.append(np.cumsum(words)[ends], len(hashes))
        starts = np.append(np.zeros(1, dtype=np.int64), stops[:-1])
        values = (sums[stops] - sums[starts]) * self._inverses[starts]
        counts = stops - starts
        first, before = self._open
        values[0] = (first + pow(_ODD, before, _BITS) * int(values[0])) % _BITS
        counts[0] += before
        self._open = (int(values[-1]), int(counts[-1]))
        self.words = counts[:-1]
        return mixed(values[:-1] + counts[:-1].astype(np.uint64) * np.uint64(_ODD))

    def _know(self, number: int) -> None:
        if len(self._powers) < number:
            for name, base in (("_powers", _ODD), ("_inverses", pow(_ODD, -1, _BITS))):
                factors = np.full(number, base, dtype=np.uint64)
                factors[0] = 1
                setattr(self, name, np.cumprod(factors, dtype=np.uint64))
