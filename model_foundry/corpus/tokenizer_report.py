"""What a tokenizer makes of a text: tokens a word, bytes a token, what it does not know and does not use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._words import count_words
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError

_BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class TextUse:
    """What was counted on one text; shares are between 0 and 1."""

    documents: int

    words: int
    """Of ``str.split()``."""

    bytes: int
    """In UTF-8."""

    tokens: int

    tokens_per_word: float
    """Fertility (Rust et al. 2021, arXiv:2012.15613, section 3.2)."""

    bytes_per_token: float

    unknown_share: float
    """Of the tokens, those that stand for what the vocabulary does not have; text is lost there."""

    byte_share: float | None
    """Of the tokens, those that are a byte of a character without a token; None where there are none such."""

    unused_ids: int
    """Ids that this text does not need, special tokens left out."""

    unused_share: float
    """Of all ids but the special ones."""

    changed_pieces: int
    """Parts of the text (documents, or pieces of long ones) that do not come back from their ids."""


def describe(encoder: TextEncoder) -> dict[str, Any]:
    """Return what is known of a tokenizer without a text: model, size, special tokens, and what it loses."""
    roles = {
        "bos": encoder.bos_id,
        "eos": encoder.eos_id,
        "pad": encoder.pad_id,
        "cls": encoder.cls_id,
        "mask": encoder.mask_id,
        "unk": encoder.unk_id,
    }
    added = {
        int(token["id"]): str(token["content"]) for token in encoder.description.get("added_tokens") or []
    }
    return {
        "model": encoder.description["model"]["type"],
        "vocab_size": encoder.vocab_size,
        "normalisation": encoder.normalisation,
        "special_tokens": {number: added[number] for number in sorted(encoder.special_ids & added.keys())},
        "roles": {role: number for role, number in roles.items() if number is not None},
        "sha256": encoder.sha256,
    }


def measure(encoder: TextEncoder, texts: Iterator[str], where: str) -> TextUse:
    """Count what a tokenizer makes of texts; memory does not follow their length.

    Args:
        encoder: The tokenizer.
        texts: Documents.
        where: What messages call them.

    Raises:
        DataError: When they hold no word.
    """
    counts = np.zeros(encoder.vocab_size, dtype=np.int64)
    documents = words = num_bytes = changed = 0
    for text in texts:
        documents += 1
        words += count_words(text)
        num_bytes += len(text.encode())
        for batch in _batches(encoder.pieces(text)):
            ids, lengths = encoder.encode_flat(batch)
            counts += np.bincount(ids, minlength=encoder.vocab_size)
            changed += _changed(encoder, batch, ids, lengths)
    if not words:
        raise DataError(
            f"{where}: there is no word in it, so that nothing can be counted. Name files with text."
        )
    tokens = int(counts.sum())
    ordinary = np.ones(encoder.vocab_size, dtype=np.bool_)
    ordinary[sorted(encoder.special_ids)] = False
    if encoder.unk_id is not None:
        ordinary[encoder.unk_id] = False
    unused = int(np.count_nonzero(ordinary & (counts == 0)))
    in_bytes = _byte_ids(encoder)
    return TextUse(
        documents=documents,
        words=words,
        bytes=num_bytes,
        tokens=tokens,
        tokens_per_word=tokens / words,
        bytes_per_token=num_bytes / tokens,
        unknown_share=0.0 if encoder.unk_id is None else int(counts[encoder.unk_id]) / tokens,
        byte_share=int(counts[in_bytes].sum()) / tokens if in_bytes else None,
        unused_ids=unused,
        unused_share=unused / max(1, int(np.count_nonzero(ordinary))),
        changed_pieces=changed,
    )


def _batches(pieces: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    yield batch


def _changed(
    encoder: TextEncoder, texts: list[str], ids: NDArray[np.uint32], lengths: NDArray[np.int64]
) -> int:
    """Return how many texts are not what their ids spell."""
    parts = np.split(ids, np.cumsum(lengths)[:-1]) if texts else []
    return sum(encoder.decode(part.tolist()) != text for text, part in zip(texts, parts, strict=True))


def _byte_ids(encoder: TextEncoder) -> list[int]:
    """Return the ids of single bytes, of a tokenizer that falls back to them."""
    if not encoder.description["model"].get("byte_fallback"):
        return []
    ids = (encoder.id_of(f"<0x{byte:02X}>") for byte in range(256))
    return [number for number in ids if number is not None]
