"""How many words begin in each token of many texts at once, from the tokens' spelling."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus.encoder import TextEncoder

_SPACES = [chr(point).encode() for point in range(0x80, 0x3001) if chr(point).isspace()]
_LEADS = sorted({space[0] for space in _SPACES})
_IS_SPACE = bytes(byte < 0x80 and chr(byte).isspace() for byte in range(256))  # for bytes.translate


@dataclass(frozen=True)
class JoinedTexts:
    """The UTF-8 of several texts, each after one space."""

    data: NDArray[np.uint8]
    """As it is, but wide white space (of more than a byte) is replaced by spaces."""

    sizes: NDArray[np.int64]
    """Bytes of each text."""

    wide: NDArray[np.int64]
    """Where white space was wide: where in ``data`` such characters begin."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each text begins in ``data``."""
        return np.cumsum(self.sizes + 1) - self.sizes

    def part(self, first: int, after: int) -> JoinedTexts:
        """Return some of the texts, from one up to another one that is not among them."""
        starts = self.starts
        low, high = int(starts[first]) - 1, int(starts[after - 1] + self.sizes[after - 1])
        wide = self.wide[(self.wide >= low) & (self.wide < high)] - low
        return JoinedTexts(self.data[low:high], self.sizes[first:after], wide)

    @cached_property
    def _is_space(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.data.tobytes().translate(_IS_SPACE), dtype=np.uint8)

    def word_begins(self) -> NDArray[np.bool_]:
        """Whether a word of ``str.split()`` begins at each byte, from the first byte of the first text on."""
        begins: NDArray[np.bool_] = self._is_space[1:] < self._is_space[:-1]
        return begins

    def word_places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where in ``data`` each word of ``str.split()`` begins and ends (exclusive)."""
        borders = np.flatnonzero(self._is_space[1:] != self._is_space[:-1]) + 1
        if len(borders) % 2:
            borders = np.append(borders, len(self.data))  # the last word ends with the last text
        return borders[::2], borders[1::2]


def join_texts(texts: Sequence[str]) -> JoinedTexts:
    """Return texts as bytes in which all white space is ASCII."""
    return join_bytes([text.encode() for text in texts])


def join_bytes(encoded: Sequence[bytes]) -> JoinedTexts:
    """Return the UTF-8 of texts as bytes in which all white space is ASCII; malformed bytes are kept."""
    joined = b" ".join([b"", *encoded])
    data = np.frombuffer(joined, dtype=np.uint8)
    wide = np.zeros(0, dtype=np.int64)
    if not joined.isascii():
        data, wide = _with_narrow_spaces(data)
    return JoinedTexts(data, np.array([len(text) for text in encoded], dtype=np.int64), wide)


def _with_narrow_spaces(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    # No UTF-8 character begins within another one, so equal bytes are equal characters.
    by_lead = {lead: np.flatnonzero(data == lead) for lead in _LEADS}
    found = []
    for space in _SPACES:
        places = by_lead[space[0]]
        places = places[places + len(space) <= len(data)]  # bytes of tokens may end within a character
        for at, byte in enumerate(space[1:], start=1):
            places = places[data[places + at] == byte]
        if len(places):
            found.append((places, len(space)))
    if not found:
        return data, np.zeros(0, dtype=np.int64)
    narrow = data.copy()
    for places, width in found:
        for at in range(width):
            narrow[places + at] = 0x20
    return narrow, np.sort(np.concatenate([places for places, _ in found]))


class WordTable:
    """What the spelling of each token says about words; for tokenizers whose tokens add up to the text.

    Args:
        encoder: Has ``spelled_tokens``.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        spelled = encoder.spelled_tokens
        assert spelled is not None, "tokens that do not add up to the text have no spelling"
        self._sizes = np.zeros(encoder.vocab_size, dtype=np.int32)
        self._facts = np.zeros(encoder.vocab_size, dtype=np.uint16)
        for number, data in spelled.items():
            is_space = data.translate(_IS_SPACE)
            inner = sum(after < before for before, after in itertools.pairwise(is_space))
            first, last = (not is_space[0], is_space[-1]) if data else (False, False)
            self._sizes[number] = len(data)
            self._facts[number] = min(inner, 2**14 - 1) << 2 | first << 1 | last

    def adds_up(
        self, texts: JoinedTexts, ids: NDArray[np.uint32], lengths: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return for each text whether its tokens have exactly as many bytes."""
        ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._sizes[ids], dtype=np.int64)])
        after = np.cumsum(lengths)
        result: NDArray[np.bool_] = ends[after] - ends[after - lengths] == texts.sizes
        return result

    def words(
        self, texts: JoinedTexts, ids: NDArray[np.uint32], lengths: NDArray[np.int64]
    ) -> NDArray[np.uint16]:
        """Return how many words of ``text.split()`` begin in each token of texts that add up."""
        facts = self._facts[ids]
        after_space = np.empty(len(ids), dtype=np.uint16)
        after_space[1:] = facts[:-1] & 1
        starts = np.cumsum(lengths) - lengths
        after_space[starts[lengths > 0]] = 1
        words: NDArray[np.uint16] = (facts >> 2) + (facts >> 1 & after_space)
        if len(texts.wide):
            self._count_by_bytes(texts, ids, lengths, words)
        return words

    def _count_by_bytes(
        self,
        texts: JoinedTexts,
        ids: NDArray[np.uint32],
        lengths: NDArray[np.int64],
        words: NDArray[np.uint16],
    ) -> None:
        """Count again in texts with wide white space, which may be cut into several tokens."""
        begins = texts.word_begins()
        first_token = np.cumsum(lengths) - lengths
        first_byte = texts.starts
        which = np.unique(np.searchsorted(first_byte, texts.wide, side="right") - 1)
        for number in which.tolist():
            tokens = slice(first_token[number], first_token[number] + lengths[number])
            start, size = first_byte[number], texts.sizes[number]
            # The byte at `start` of data is at start - 1 of begins, which looks at pairs of bytes.
            before = np.concatenate([[0], np.cumsum(begins[start - 1 : start - 1 + size], dtype=np.int64)])
            ends = np.cumsum(self._sizes[ids[tokens]], dtype=np.int64)
            words[tokens] = np.diff(before[ends], prepend=0) if size else 0
