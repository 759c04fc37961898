"""Text that came as token ids: nothing is tokenized, only words and bytes are counted.

Both come from the bytes that the tokenizer's vocabulary spells for each id. A document that is longer than
four million tokens comes in pieces; a word across the border of two pieces counts in both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_foundry.corpus._ids import ids_of_text
from model_foundry.corpus._word_table import join_bytes
from model_foundry.corpus.bulk import BulkEncoder, Encoded
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.source import Source
from model_foundry.errors import DataError


class TokenEncoder(BulkEncoder):
    """Takes the place of the encoder of text.

    Args:
        encoder: The tokenizer that made the ids.
        source: Of the ids.
        where: What messages call the files.

    Raises:
        DataError: When the tokenizer cannot be the one, or cannot be counted with.
    """

    def __init__(self, encoder: TextEncoder, source: Source, where: str) -> None:
        super().__init__(encoder, None)
        self._where = where
        spelled = encoder.spelled_tokens
        if spelled is None:
            raise DataError(
                f"{where}: words and bytes cannot be counted, as the tokens of {encoder.folder} do not add "
                "up to their text; expected a byte-level BPE. Use the text itself."
            )
        self._spelled = spelled
        self._is_known = np.zeros(encoder.vocab_size, dtype=np.bool_)
        self._is_known[list(spelled)] = True
        given = getattr(source, "end_of_document", None)
        if given is not None and given != encoder.eos_id:
            raise DataError(
                f"{where}: end_of_document is {given}, but the tokenizer's is {encoder.eos_id} "
                f"({encoder.eos_token}). Name that one, or the tokenizer that made the tokens."
            )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids that are in the texts, and what they spell.

        Raises:
            DataError: When an id is not in the vocabulary.
        """
        by_text = [ids_of_text(text) for text in texts]
        ids = np.concatenate([np.zeros(0, dtype=np.uint32), *by_text])
        lengths = np.array([len(of_text) for of_text in by_text], dtype=np.int64)
        highest = len(self._is_known)
        is_known = (ids < highest) & self._is_known[np.minimum(ids, highest - 1)]
        if not is_known.all():
            raise DataError(
                f"{self._where}: token {ids[~is_known][0]} is not in the vocabulary of {highest} ids. Name "
                "the tokenizer that made the tokens, and their width."
            )
        joined = join_bytes([b"".join(map(self._spelled.__getitem__, of.tolist())) for of in by_text])
        assert self._table is not None, "a tokenizer with a spelling has a table"
        words = self._table.words(joined, ids, lengths)
        return Encoded(ids, words, lengths, joined)
