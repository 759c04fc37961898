"""Contract for text sources.

Files that can be fingerprinted, and documents read from them in a fixed order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from model_foundry.corpus.parsed import Document
from model_foundry.parts import Part


@dataclass(frozen=True)
class Input:
    """One file that a source reads."""

    path: Path
    """Where it is on this machine."""

    name: str
    """What manifests and messages call it; the same on every machine where the content is the same."""

    start: int = 0
    """First byte to read; other than 0 only where ``Source.cuts`` named it."""

    stop: int | None = None
    """The byte after the last one to read; None for the end of the file."""

    losses: Counter[str] = field(default_factory=Counter, compare=False, repr=False)
    """What reading leaves out or replaces, counted by the source; it stands in the manifest."""


class Source(Part):
    """Settings of one source of documents."""

    is_parsed: ClassVar[bool] = False
    """Whether ``parsed`` gives the documents with a parse."""

    is_tokenized: ClassVar[bool] = False
    """Whether ``documents`` gives token ids (``corpus/_ids.py``)."""

    weight: float | None = Field(default=None, gt=0)
    """Share of this source in the mixture; without weights every document is seen once an epoch."""

    max_epochs: float | None = Field(default=None, gt=0)
    """At most so many passes over this source in a mixture."""

    @abstractmethod
    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return the files to read, in the order in which they are read.

        Args:
            folders: Where a relative path is looked for, the first that has it wins.

        Raises:
            DataError: When there is nothing to read, naming every place that was tried.
        """

    @abstractmethod
    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the texts of one input, in order; empty ones are counted and passed over by the caller.

        A document too long to hold may come in pieces (``corpus/_pieces.py``).

        Raises:
            DataError: When the input cannot be read or decoded, naming file and byte offset.
        """

    def parsed(self, source_input: Input) -> Iterator[Document]:
        """Yield the documents of one input with their parse; the texts are those of ``documents``."""
        raise NotImplementedError(f"{self.part_name()} brings no parse")

    def cuts(self, source_input: Input, size: int) -> list[int]:
        """Return bytes of an input at which it may be read in parts of about ``size`` bytes; the first is 0.

        The documents of the parts, one part after the other, are those of the whole.
        """
        return [0]
