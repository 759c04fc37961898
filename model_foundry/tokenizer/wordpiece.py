"""WordPiece: words and punctuation, as BERT cuts them, each from its start into its longest pieces; lossy.

Devlin et al. 2019 (arXiv:1810.04805) use it; the pieces are trained by merging the most frequent pairs, as
the ``tokenizers`` library does, since the original training was not published. White space, control
characters and, where asked for, capitals and accents do not come back from the ids. A word with an unknown
character is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from model_foundry.errors import RecipeError
from model_foundry.tokenizer import UNKNOWN, Tokenizer
from model_foundry.tokenizer._files import write_folder
from model_foundry.tokenizer._sizes import too_few_tokens
from model_foundry.units import Count


class Wordpiece(Tokenizer):
    """Id 0 ends a document, 1 is ``<unk>``, then a mask token, the characters, and the pieces."""

    has_unknown: ClassVar[bool] = True

    vocab_size: Annotated[Count, Field(gt=2, le=2**22)] = 8192
    """Number of ids, exact, with the special tokens."""

    lowercase: bool = False
    """Write everything in lower case and without accents, as BERT's uncased models do."""

    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Train on the texts and write the files.

        Raises:
            RecipeError: When the vocabulary is too small for the characters, or a special token is a word.
            DataError: When the texts are empty or have too few different pieces for the vocabulary.
        """
        from tokenizers import AddedToken, decoders, models

        from model_foundry.tokenizer._wordpiece import count_words, text_steps, train_pieces

        for role, token in self.special_tokens.items():
            if token.isalnum():
                raise RecipeError(
                    f"tokenizer.{role}: {token!r} is a word, which a text can hold, too. Write it in "
                    f"brackets, such as [{token}]."
                )
        pipeline = text_steps(lowercase=self.lowercase)
        special = list(self.special_tokens.values())
        vocabulary = train_pieces(count_words(texts, pipeline), special, self.vocab_size)
        if len(vocabulary) > self.vocab_size:
            raise RecipeError(
                f"tokenizer.vocab_size: {self.vocab_size} cannot hold the special tokens and the characters "
                f"of the text, alone and within words. Raise it to {len(vocabulary)} or more."
            )
        if len(vocabulary) < self.vocab_size:
            raise too_few_tokens(len(vocabulary), self.vocab_size)
        pipeline.model = models.WordPiece(vocabulary, unk_token=UNKNOWN)
        pipeline.decoder = decoders.WordPiece()
        pipeline.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
        write_folder(folder, pipeline, self.special_tokens)
