"""Unigram tokens, trained with SentencePiece: the likeliest way to cut a text; any Unicode text, lossless.

Begins with many pieces and drops those that the likelihood of the text needs least (Kudo 2018,
arXiv:1804.10959, section 3.2), as SentencePiece does by default (Kudo and Richardson 2018, arXiv:1808.06226),
except that the text is not normalised and gets no space before its first word.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from model_foundry.tokenizer._subwords import Subwords


class Unigram(Subwords):
    """Id 0 ends a document, 1 is ``<unk>`` (never used), then a mask token, 256 bytes, and the pieces."""

    kind: ClassVar[Literal["unigram"]] = "unigram"
