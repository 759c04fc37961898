"""Byte-pair encoding over characters, trained with SentencePiece; any Unicode text, lossless.

Merges the most frequent pairs of characters (Sennrich et al. 2016, arXiv:1508.07909, section 3.2) within
words and within one script, as SentencePiece does by default (Kudo and Richardson 2018, arXiv:1808.06226),
except that the text is not normalised and gets no space before its first word. ``byte_bpe`` merges bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from model_foundry.tokenizer import Tokenizer
from model_foundry.tokenizer._files import write_folder
from model_foundry.units import Count


class Bpe(Tokenizer):
    """Id 0 ends a document, 1 is ``<unk>`` (never used), then a mask token, 256 bytes, and the pieces."""

    has_unknown: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("sentencepiece", "tokenizers")

    vocab_size: Annotated[Count, Field(gt=256, le=2**22)] = 8192
    """Number of ids, exact, with the 256 bytes and the special tokens."""

    character_coverage: float = Field(default=0.9995, ge=0.9, le=1)
    """Share of the text's characters that get tokens; those that are rarer are written as their bytes."""

    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Train on the texts and write the files.

        Raises:
            RecipeError: When the vocabulary is too small for the characters, or a special token is one.
            DataError: When the texts have too few different parts for the vocabulary.
        """
        from model_foundry.tokenizer._sentencepiece import as_pipeline, train

        model = train(
            "bpe",
            texts,
            self.special_tokens,
            vocab_size=self.vocab_size,
            character_coverage=self.character_coverage,
        )
        write_folder(folder, as_pipeline("bpe", model, self.special_tokens), self.special_tokens)
