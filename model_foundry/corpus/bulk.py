"""Many texts to tokens at once: ids and word counts as flat arrays, the fastest way that is proved equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._word_table import JoinedTexts, WordTable, join_texts
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.fast import FastTokenizer

_JUDGED_CHARACTERS = 3 << 10


@dataclass(frozen=True)
class Encoded:
    """The tokens of several texts, one after the other, without special tokens."""

    ids: NDArray[np.uint32]

    words: NDArray[np.uint16]
    """Words of ``text.split()`` that begin in each token."""

    lengths: NDArray[np.int64]
    """Tokens of each text."""

    texts: JoinedTexts

    @property
    def sizes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each text."""
        return self.texts.sizes

    @property
    def num_words(self) -> int:
        """Words of all texts, counted in the texts and not in the tokens."""
        return int(np.count_nonzero(self.texts.word_begins()))


class BulkEncoder:
    """Encodes batches of a few megabytes.

    Args:
        encoder: The tokenizer, and the judge of the fast one.
        fast: Gives the ids where it is there; a sample of every batch is compared.
    """

    def __init__(self, encoder: TextEncoder, fast: FastTokenizer | None) -> None:
        self.encoder = encoder
        self.fast = fast
        self._judged = 0
        self._table = None if encoder.spelled_tokens is None else WordTable(encoder)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the tokens of texts.

        Raises:
            TokensDiffer: When the fast tokenizer cannot be relied on for this text.
        """
        if self.fast is None:
            ids, lengths = self.encoder.encode_flat(texts)
        else:
            ids, lengths = self.fast.encode(texts)
            self._judge(texts)
        joined = join_texts(texts)  # after the tokenizer: Python keeps the UTF-8 that it has asked for
        ids, words, lengths = self._with_words(texts, joined, ids, lengths)
        return Encoded(ids, words, lengths, joined)

    def _judge(self, texts: Sequence[str]) -> None:
        """Compare the beginning of a text, each time at another place of the batch."""
        assert self.fast is not None
        if texts:
            self._judged += 1
            self.fast.require_equal(
                self.encoder, [texts[self._judged * 61 % len(texts)][:_JUDGED_CHARACTERS]]
            )

    def _with_words(
        self,
        texts: Sequence[str],
        joined: JoinedTexts,
        ids: NDArray[np.uint32],
        lengths: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.int64]]:
        if self._table is not None and bool(self._table.adds_up(joined, ids, lengths).all()):
            return ids, self._table.words(joined, ids, lengths), lengths
        # Some text is not the sum of its tokens (an unknown character, say): by what the tokenizer reports.
        slow = self.encoder.encode_with_words(texts)
        nothing = np.zeros(0, dtype=np.int64)
        ids = np.concatenate([nothing, *(of_text for of_text, _ in slow)]).astype(np.uint32)
        words = np.concatenate([nothing, *(of_text for _, of_text in slow)])
        lengths = np.array([len(of_text) for of_text, _ in slow], dtype=np.int64)
        return ids, np.minimum(words, 2**16 - 1).astype(np.uint16), lengths
