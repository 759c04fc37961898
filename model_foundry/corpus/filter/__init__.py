"""Contract for filters: which documents stay in a corpus.

A filter sees one document at a time, held out or not, as those before left it, and depends on nothing else:
the same document is judged again wherever it is read again. Filters that compare documents with each other
(``corpus/comparing.py``) give a signature for each instead, and decide over all of them at once. What they
take away is counted by the caller, document by document.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from model_foundry.corpus.source import Input
from model_foundry.parts import Part

Judge = Callable[[str, Counter[str]], str | None]
"""From a text that is not blank: what is left of it, None where nothing is; counts why."""


class Filter(Part):
    """Settings of one filter."""

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return the files that it reads, which are part of the corpus's identity.

        Args:
            folders: Where a relative path is looked for, the first that has it wins.

        Raises:
            DataError: When there is nothing to read, naming every place that was tried.
        """
        return []

    def identity(self) -> dict[str, str]:
        """Return what else decides, such as the version of a package with a model.

        Raises:
            RecipeError: When something is not installed, naming the extra that brings it.
        """
        return {}

    @abstractmethod
    def open(self, files: Sequence[Path]) -> Judge:
        """Return what judges a text; called once a process.

        Args:
            files: Those of ``inputs``, in order.

        Raises:
            DataError: When a file cannot be read, or holds nothing to go by.
        """
