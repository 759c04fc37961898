"""Contract for tokenizers: settings that leave a folder with ``tokenizer.json`` that ``AutoTokenizer`` loads.

Training is deterministic: the same texts and settings give the same bytes on disk.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

from model_foundry.parts import Part

END_OF_DOCUMENT = "<|endoftext|>"
"""Stands between documents; the end-of-sequence token of every tokenizer that is trained here."""


class Tokenizer(Part):
    """Settings of one tokenizer."""

    @property
    def is_trained(self) -> bool:
        """Whether it learns from the corpus, so that its identity depends on the text."""
        return True

    @abstractmethod
    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Make the tokenizer and write its files into ``folder``, which exists and is empty.

        Args:
            folder: Receives ``tokenizer.json`` and ``tokenizer_config.json``.
            texts: Documents of the training part of the corpus; not read where ``is_trained`` is false.
            folders: Where a relative path is looked for.

        Raises:
            RecipeError: When the settings cannot be met, such as an unknown folder.
            DataError: When the texts cannot give what is asked for, such as a vocabulary of that size.
        """
