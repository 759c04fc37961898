"""One id a character of the training text; lossless for those, ``<unk>`` for all others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from model_foundry.errors import DataError
from model_foundry.tokenizer import UNKNOWN, Tokenizer
from model_foundry.tokenizer._files import write_folder


class Character(Tokenizer):
    """Id 0 ends a document, 1 is ``<unk>``, 2 masks where something does, then come the characters."""

    has_unknown: ClassVar[bool] = True

    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Collect the characters and write the files.

        Raises:
            DataError: When there is no text.
        """
        from tokenizers import AddedToken, decoders, models
        from tokenizers import Tokenizer as Pipeline

        seen: set[str] = set()
        for text in texts:
            seen.update(text)
        if not seen:
            raise DataError(
                "tokenizer: the training text is empty, expected at least one character. Add text."
            )
        special = self.special_tokens
        vocabulary = {token: number for number, token in enumerate([*special.values(), *sorted(seen)])}
        # A whole text is one word of this model, and without merges its symbols are the characters.
        pipeline = Pipeline(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
        pipeline.decoder = decoders.Fuse()
        pipeline.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in special.values()]
        )
        write_folder(folder, pipeline, special)
