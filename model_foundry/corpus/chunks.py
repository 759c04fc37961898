"""Placed text to tokens: batches of documents become flat arrays for each side, ready for the shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._words import count_words
from model_foundry.corpus.bulk import BulkEncoder
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.reading import Part
from model_foundry.corpus.statistics import TextStatistics
from model_foundry.errors import DataError

_BATCH_CHARACTERS = 1 << 20
_MAX_WORDS = 255  # of one token, in a uint8


def token_dtype(encoder: TextEncoder) -> type[np.uint16] | type[np.uint32]:
    """Return the width of a token on disk."""
    return np.uint16 if encoder.vocab_size <= 2**16 else np.uint32


@dataclass(frozen=True)
class SideChunk:
    """Tokens of one side that follow one another."""

    tokens: NDArray[Any]
    words: NDArray[np.uint8]
    """Words that begin in each token."""

    rows: NDArray[np.int64]
    """For each document that ends in it: tokens, words, bytes, ordinal; of shape (documents, 4)."""


@dataclass(frozen=True)
class Chunk:
    """What a stretch of text became."""

    sides: dict[str, SideChunk]
    characters: int
    num_words: int
    num_bytes: int
    """All three of the text that was encoded, counted in the text."""


class PartEncoder:
    """Encodes parts in order; a document may reach over several batches.

    Args:
        bulk: Encodes their text.
        statistics: Counts words and documents by the way.
    """

    def __init__(self, bulk: BulkEncoder, statistics: TextStatistics | None = None) -> None:
        self._bulk = bulk
        self._statistics = statistics
        self._dtype = token_dtype(bulk.encoder)
        self._open = np.zeros(4, dtype=np.int64)
        """Of the document that goes on: tokens, words, bytes, and words that are in no token."""

    def encode(self, batch: list[Part]) -> Chunk:
        """Return the tokens of a batch.

        A document cut at its end gets no token that ends it. A text of which the tokenizer keeps nothing
        always gets one, which then holds its words.

        Raises:
            DataError: When more words begin in one token than a byte can count.
            TokensDiffer: When the fast tokenizer cannot be relied on.
        """
        texts, owners = self._texts_of(batch)
        encoded = self._bulk.encode(texts)
        owner = np.array(owners, dtype=np.int64)
        is_last = np.append(owner[1:] != owner[:-1], True)
        ends = is_last & ~np.array([part.goes_on for part in batch], dtype=np.bool_)[owner]
        complete = np.array([part.is_complete for part in batch], dtype=np.bool_)[owner]

        sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(encoded.words, dtype=np.int64)])
        after = np.cumsum(encoded.lengths)
        words = sums[after] - sums[after - encoded.lengths]
        lost = np.zeros(len(texts), dtype=np.int64)
        for number in np.flatnonzero(encoded.lengths == 0).tolist():
            lost[number] = count_words(texts[number])
        counted, num_words = int(words.sum() + lost.sum()), encoded.num_words
        assert counted == num_words, f"{counted} words in tokens, {num_words} in their text"
        documents = self._by_document(np.stack([encoded.lengths, words, encoded.sizes, lost], axis=1), ends)
        adds_end = complete[ends] | (documents[:, 0] == 0)
        at = after[ends][adds_end]
        ids = np.insert(encoded.ids.astype(self._dtype), at, self._bulk.encoder.eos_id)
        in_tokens = np.insert(
            encoded.words, at, np.minimum(documents[adds_end, 3], 2**16 - 1).astype(np.uint16)
        )
        if len(in_tokens) and int(in_tokens.max()) > _MAX_WORDS:
            raise _too_many_words(texts, int(in_tokens.max()))
        lengths = encoded.lengths.copy()
        lengths[np.flatnonzero(ends)[adds_end]] += 1
        ordinals = np.array([part.ordinal for part in batch], dtype=np.int64)[owner][ends]
        rows = np.stack(
            [documents[:, 0] + adds_end, documents[:, 1] + documents[:, 3], documents[:, 2], ordinals], axis=1
        )
        held_out = np.array([part.side == "validation" for part in batch], dtype=np.bool_)[owner]
        sides = _by_side(ids, in_tokens.astype(np.uint8), rows, held_out, lengths, ends)
        if self._statistics is not None:
            self._statistics.add(encoded.texts, held_out, ends)
            for side, chunk in sides.items():
                self._statistics.add_lengths(side, tokens=chunk.rows[:, 0], words=chunk.rows[:, 1])
        characters = sum(len(part.text) for part in batch)
        return Chunk(sides, characters, num_words, int(encoded.sizes.sum()))

    def _texts_of(self, batch: list[Part]) -> tuple[list[str], list[int]]:
        """Cut long parts into pieces, and return all texts and which part each is of."""
        texts: list[str] = []
        owners: list[int] = []
        for number, part in enumerate(batch):
            for piece in self._bulk.encoder.pieces(part.text):
                texts.append(piece)
                owners.append(number)
        return texts, owners

    def _by_document(self, facts: NDArray[np.int64], ends: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Add up what belongs to each document that ends here, and keep what belongs to one that goes on."""
        stops = np.flatnonzero(ends) + 1
        totals = np.concatenate([np.zeros((1, 4), dtype=np.int64), np.cumsum(facts, axis=0)])
        totals[1:] += self._open
        at_stops = totals[stops]
        documents = np.diff(at_stops, axis=0, prepend=np.zeros((1, 4), dtype=np.int64))
        self._open = totals[-1] - (at_stops[-1] if len(stops) else 0)
        return documents


def _by_side(
    ids: NDArray[Any],
    words: NDArray[np.uint8],
    rows: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    ends: NDArray[np.bool_],
) -> dict[str, SideChunk]:
    if not held_out.any():
        return {"train": SideChunk(ids, words, rows)}
    if held_out.all():
        return {"validation": SideChunk(ids, words, rows)}
    of_token, of_row = np.repeat(held_out, lengths), held_out[ends]
    return {
        "train": SideChunk(ids[~of_token], words[~of_token], rows[~of_row]),
        "validation": SideChunk(ids[of_token], words[of_token], rows[of_row]),
    }


def _too_many_words(texts: list[str], words: int) -> DataError:
    longest = max(texts, key=count_words)
    return DataError(
        f"a document with the text {longest[:40]!r}: {words} or more words begin in one token, expected at "
        f"most {_MAX_WORDS}: the tokenizer drops most of this text. Use another tokenizer or remove the "
        "document."
    )


def encode_parts(
    parts: Iterator[Part], bulk: BulkEncoder, statistics: TextStatistics | None = None
) -> Iterator[Chunk]:
    """Yield the tokens of parts; a few megabytes of text are held at a time."""
    encoder = PartEncoder(bulk, statistics)
    batch: list[Part] = []
    size = 0
    for part in parts:
        batch.append(part)
        size += len(part.text)
        if size >= _BATCH_CHARACTERS:
            yield encoder.encode(batch)
            batch, size = [], 0
    if batch:
        yield encoder.encode(batch)
