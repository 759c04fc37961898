"""Byte-pair encoding over characters, trained with SentencePiece; any Unicode text, lossless.

Merges the most frequent pairs of characters (Sennrich et al. 2016, arXiv:1508.07909, section 3.2) within
words and within one script, as SentencePiece does by default (Kudo and Richardson 2018, arXiv:1808.06226),
except that the text is not normalised and gets no space before its first word. ``byte_bpe`` merges bytes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from model_foundry.tokenizer._subwords import Subwords


class Bpe(Subwords):
    """Id 0 ends a document, 1 is ``<unk>`` (never used), then a mask token, 256 bytes, and the pieces."""

    kind: ClassVar[Literal["bpe"]] = "bpe"
