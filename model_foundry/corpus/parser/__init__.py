"""Contract for parsers, which give plain text the parse that interventions read.

A parse is kept in the cache under the source's and the parser's fingerprint, so a text is parsed once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

from model_foundry.corpus.parsed import Document
from model_foundry.parts import Part


class Parser(Part):
    """Settings of one parser."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Return the versions of library and model that a parse depends on.

        Raises:
            RecipeError: When either is not installed, naming what to do.
        """

    @abstractmethod
    def parse(self, texts: Iterable[str]) -> Iterator[Document]:
        """Yield the parse of every text, in order; a document's text is the text, to the byte."""
