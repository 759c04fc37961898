"""Byte-level byte-pair encoding, trained on the corpus: any UTF-8 text, no unknown token, lossless.

Splits text as GPT-2 does (Radford et al. 2019, section 2.2), then merges the most frequent pairs (Sennrich
et al. 2016, arXiv:1508.07909, section 3.2). Pairs that occur once are not merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from model_foundry.errors import RecipeError
from model_foundry.tokenizer import Tokenizer
from model_foundry.tokenizer._files import write_folder
from model_foundry.tokenizer._sizes import too_few_tokens
from model_foundry.units import Count

_BYTES = 256


class ByteBpe(Tokenizer):
    """Id 0 ends a document, then a mask token where there is one, 256 bytes, and the merges in order."""

    vocab_size: Annotated[Count, Field(gt=_BYTES, le=2**22)] = 8192
    """Number of ids, exact, with the 256 bytes and the special tokens."""

    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Train on the texts and write the files.

        Raises:
            RecipeError: When the vocabulary is too small for the bytes and the special tokens.
            DataError: When the texts have too few different pairs for the vocabulary.
        """
        from tokenizers import Tokenizer as Pipeline
        from tokenizers import decoders, models, pre_tokenizers, trainers

        pipeline = Pipeline(models.BPE())
        pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        pipeline.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=2,
            special_tokens=list(self.special_tokens.values()),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        pipeline.train_from_iterator(texts, trainer)
        reached = pipeline.get_vocab_size()
        if reached > self.vocab_size:
            raise RecipeError(
                f"tokenizer.vocab_size: {self.vocab_size} cannot hold the 256 bytes and "
                f"{len(self.special_tokens)} special tokens. Raise it to {reached} or more."
            )
        if reached != self.vocab_size:
            raise too_few_tokens(reached, self.vocab_size)
        write_folder(folder, pipeline, self.special_tokens)
