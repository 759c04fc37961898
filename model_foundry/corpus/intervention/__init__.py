"""Contract for edits to the text of documents.

An intervention looks at a document as it was written and names every place that it would change. Which of
these are changed (intensity), how several interventions go together, and what becomes of white space and
capital letters is decided elsewhere, the same for all of them (``corpus/editing.py``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from model_foundry.corpus.parsed import Document
from model_foundry.parts import Part
from model_foundry.units import Share


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to one word."""

    kind: Literal["delete", "replace", "insert_before", "insert_after"]
    token: int
    """Which word of its sentence, from 0."""

    text: str = ""
    """What is written there; of a deletion nothing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that an intervention would change: all of its edits are made, or none."""

    sentence: int
    """Which sentence of the document, from 0."""

    position: int
    """Which of the sentence's places it is; decides by lot with ``sentence`` whether it is changed."""

    edits: tuple[Edit, ...] = ()

    order: tuple[int, ...] = ()
    """The surface words of the sentence (``Sentence.units``) in a new order, or nothing."""


class Intervention(Part):
    """Settings of one edit."""

    intensity: Share = 1.0
    """Share of the candidates that are changed; what is changed at 10% is changed at 20%, too."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses them, where not all are changed; the run's seeds have no part in it."""

    @property
    def needs_parse(self) -> bool:
        """Whether it reads more of a word than its form."""
        return True

    @abstractmethod
    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield everything that is changed at full intensity, in the order of the text.

        Depends on the document and the settings alone. Words are never counted after other edits: a document
        is always shown as it was written.
        """
