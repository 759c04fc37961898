"""One id a character of the training text; lossless for those, ``<unk>`` for all others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model_foundry.errors import DataError
from model_foundry.tokenizer import END_OF_DOCUMENT, Tokenizer
from model_foundry.tokenizer._files import write_folder

UNKNOWN = "<unk>"


class Character(Tokenizer):
    """Id 0 ends a document, 1 is ``<unk>``, then come the characters in the order of their code points."""

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
        vocabulary = {token: number for number, token in enumerate([END_OF_DOCUMENT, UNKNOWN, *sorted(seen)])}
        # A whole text is one word of this model, and without merges its symbols are the characters.
        pipeline = Pipeline(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
        pipeline.decoder = decoders.Fuse()
        pipeline.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in (END_OF_DOCUMENT, UNKNOWN)]
        )
        write_folder(folder, pipeline, {"eos_token": END_OF_DOCUMENT, "unk_token": UNKNOWN})
