"""What the tokenizers that SentencePiece trains have in common; a file of its own names each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from model_foundry.tokenizer import Tokenizer
from model_foundry.tokenizer._files import write_folder
from model_foundry.units import Count

if TYPE_CHECKING:
    from model_foundry.tokenizer._sentencepiece import Kind


class Subwords(Tokenizer):
    """Id 0 ends a document, 1 is ``<unk>`` (never used), then a mask token, 256 bytes, and the pieces."""

    has_unknown: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("sentencepiece", "tokenizers")
    kind: ClassVar[Kind]
    """Of SentencePiece's model."""

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
            self.kind,
            texts,
            self.special_tokens,
            vocab_size=self.vocab_size,
            character_coverage=self.character_coverage,
        )
        write_folder(folder, as_pipeline(self.kind, model, self.special_tokens), self.special_tokens)
